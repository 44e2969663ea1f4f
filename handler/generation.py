"""What is to be generated, whichever API asked for it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from model.dialogue import Turn
from model.sampling import SamplingParams

_SEEDS = 2**63


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

    def params_of(self, choice: int, seed: int) -> SamplingParams:
        """Return how the choice of that index is sampled, given the seed of the first."""
        return replace(self.params, seed=(seed + choice % self.num_choices) % _SEEDS)
