"""What is to be generated, whichever API asked for it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from handler.errors import invalid_request
from model.dialogue import Turn
from model.sampling import SamplingParams

_SEEDS = 2**63
# A reply of more than max_response_size (config.properties, 4 MiB) makes TorchServe drop the worker with all
# that it is answering. A token takes some 600 bytes at most with what stands around it.
MAX_LOGPROBS_IN_ALL = 6000


@dataclass(frozen=True)
class Prompt:
    """A user's text and the conversation that it goes on with."""

    text: str
    history: tuple[Turn, ...] = ()


@dataclass(frozen=True)
class Generation:
    """`num_choices` replies to each prompt.

    The i-th reply to a prompt is sampled with the seed + i, so each is what that seed gives alone. Without a
    seed one is chosen. A conversation (`session_id`) stands before the prompt's own history, and the first
    reply goes into it.
    """

    prompts: tuple[Prompt, ...]
    params: SamplingParams
    seed: int | None = None
    num_choices: int = 1
    stop: tuple[str, ...] = ()
    stream: bool = False
    tells_usage: bool = True  # at the end of a stream
    session_id: str | None = None

    @property
    def num_sequences(self) -> int:
        """Replies in all."""
        return len(self.prompts) * self.num_choices

    def check_size(self, context_length: int) -> None:
        """Raise ApiError (400) when the log probabilities could be more than one reply can hold."""
        if self.params.logprobs is None:
            return
        num_tokens = self.num_sequences * min(self.params.max_new_tokens, context_length)
        count = num_tokens * (1 + self.params.logprobs)
        if count > MAX_LOGPROBS_IN_ALL:
            rule = f"tokens times replies times (1 + alternatives) may be {MAX_LOGPROBS_IN_ALL}, not {count}"
            raise invalid_request(f"logprobs: {rule}", "logprobs")

    def params_of(self, choice: int, seed: int) -> SamplingParams:
        """Return how the choice of that index is sampled, given the seed of the first."""
        return replace(self.params, seed=(seed + choice % self.num_choices) % _SEEDS)
