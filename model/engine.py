"""The batching engine: a passive object that decodes many requests together, one step a call.

It sees token ids only, has no thread and no clock: whoever calls `step` drives it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass, field

from model.decoder import Decoded, Decoder, Row
from model.sampling import SamplingParams, TokenLogprobs
from model.slots import Slots

# Prompt ids that one step takes in before it decodes: many long prompts at once must not hold up the rest.
MAX_PROMPT_TOKENS_PER_STEP = 512

# A sequence with fewer output ids is served before the others: short requests do not pay for long ones.
YOUNG_TOKENS = 20
LEAST_TOKENS = 2  # of every row in a step, whatever the budget


class EngineFullError(RuntimeError):
    """More requests wait than the engine admits."""


class PromptTooLongError(ValueError):
    """The prompt does not fit the positions that the network was trained on."""


@dataclass
class Sequence:
    """One request in the engine: its prompt, what it has produced, and where it stands.

    The keys and values of its first `num_cached` ids are in `slot`; `num_reused` of them were there before.
    """

    request_id: Hashable
    prompt_ids: list[int]
    params: SamplingParams
    temperature: float
    context_length: int
    output_ids: list[int] = field(default_factory=list)
    slot: int = -1
    num_cached: int = 0
    num_reused: int = 0
    finish_reason: str | None = None

    @property
    def ids(self) -> list[int]:
        """Prompt and output."""
        return self.prompt_ids + self.output_ids

    @property
    def is_young(self) -> bool:
        """Whether it has produced so little that it may be a short one."""
        return len(self.output_ids) < YOUNG_TOKENS

    @property
    def room(self) -> int:
        """How many more ids it may produce; the last one needs no position of its own."""
        positions = self.context_length - len(self.prompt_ids) + 1
        return min(self.params.max_new_tokens, positions) - len(self.output_ids)

    def row(self, max_tokens: int) -> Row:
        """What the decoder must know to go on by at most `max_tokens`."""
        return Row(
            slot=self.slot,
            pending_ids=self.ids[self.num_cached :],
            position=self.num_cached,
            output_ids=self.output_ids,
            params=self.params,
            temperature=self.temperature,
            limit=min(max_tokens, self.room),
        )

    def accept(self, decoded: Decoded, end_ids: Collection[int]) -> Progress:
        """Take what a step brought: an end id stops the sequence and is not part of its output."""
        self.num_cached = len(self.ids) + len(decoded.ids) - 1
        new_ids, logprobs = decoded.ids, decoded.logprobs
        if new_ids[-1] in end_ids:
            self.finish_reason = "stop"
            new_ids, logprobs = new_ids[:-1], logprobs and logprobs[:-1]
        self.output_ids += new_ids
        if self.finish_reason is None and self.room <= 0:
            self.finish_reason = "length"
        return Progress(new_ids, self.finish_reason, logprobs, self.num_reused)


@dataclass(frozen=True)
class Progress:
    """What one step brought to one request. `cached_tokens` of its prompt were reused from the cache."""

    new_ids: list[int]
    finish_reason: str | None
    logprobs: list[TokenLogprobs] | None = None
    cached_tokens: int = 0


class Engine:
    """Continuous batching over the decoder's cache slots.

    A step admits waiting requests into free slots, then decodes up to `max_tokens` tokens for every
    running row. A request joins and leaves between two steps, so a short one never waits for a long one.
    The same request gives the same ids alone or in any company.
    """

    def __init__(
        self,
        decoder: Decoder,
        *,
        temperature: Callable[[float, float], float],
        end_ids: Collection[int],
        max_waiting: int = 64,
    ) -> None:
        """`temperature` picks one between a request's bounds (NeuroQ.quantum_temperature)."""
        self.decoder = decoder
        self.max_waiting = max_waiting
        self._temperature = temperature
        self._end_ids = frozenset(end_ids)
        self._slots = Slots(decoder.num_slots)
        self._running: dict[Hashable, Sequence] = {}
        self._waiting: deque[Sequence] = deque()

    @property
    def context_length(self) -> int:
        """Positions that a prompt and its reply may use together."""
        return self.decoder.context_length

    @property
    def num_slots(self) -> int:
        """Requests that can run at once."""
        return self.decoder.num_slots

    @property
    def num_running(self) -> int:
        """Requests that hold a slot."""
        return len(self._running)

    @property
    def num_young(self) -> int:
        """Requests that wait for a slot or have produced little: those that a short step serves better."""
        return len(self._waiting) + sum(s.is_young for s in self._running.values())

    @property
    def num_waiting(self) -> int:
        """Requests that wait for a slot."""
        return len(self._waiting)

    def add(self, request_id: Hashable, prompt_ids: list[int], params: SamplingParams) -> None:
        """Queue a request. Raises EngineFullError, PromptTooLongError, or ValueError for an empty prompt."""
        if not prompt_ids:
            raise ValueError("prompt_ids must not be empty")
        if len(prompt_ids) > self.context_length:
            raise PromptTooLongError(
                f"the prompt has {len(prompt_ids)} tokens, the context allows {self.context_length}"
            )
        if len(self._waiting) >= self.max_waiting + len(self._slots):
            raise EngineFullError(
                f"{len(self._waiting)} requests are waiting, the bound is {self.max_waiting}"
            )
        temperature = self._temperature(params.temp_min, params.temp_max)
        self._waiting.append(Sequence(request_id, list(prompt_ids), params, temperature, self.context_length))

    def cancel(self, request_id: Hashable) -> None:
        """Forget a request, waiting or running; its slot is free at once. Unknown ids are ignored."""
        self._waiting = deque(s for s in self._waiting if s.request_id != request_id)
        if request_id in self._running:
            self._release(self._running.pop(request_id))

    def step(self, max_tokens: int = 1, budget: int | None = None) -> dict[Hashable, Progress]:
        """Decode up to `max_tokens` tokens a row; return what is new for each request that moved.

        `budget` bounds the tokens of all rows together, but every row may have LEAST_TOKENS.
        """
        if max_tokens < 1:
            raise ValueError(f"max_tokens must be at least 1, got {max_tokens}")
        self._admit()
        running = list(self._running.values())
        if not running:
            return {}
        if budget is None:
            budget = max_tokens * len(running)
        young, old = _shares(running, budget)
        decoded = self.decoder.decode([s.row(min(max_tokens, young if s.is_young else old)) for s in running])
        progress = {
            s.request_id: s.accept(news, self._end_ids) for s, news in zip(running, decoded, strict=True)
        }
        for sequence in running:
            if sequence.finish_reason:
                self._release(self._running.pop(sequence.request_id))
        return progress

    def _admit(self) -> None:
        """Give free slots to waiting requests, in order of arrival, within the step's share of prompts."""
        room = MAX_PROMPT_TOKENS_PER_STEP
        while self._waiting and len(self._slots) and room > 0:
            sequence = self._waiting.popleft()
            sequence.slot, sequence.num_reused = self._slots.take(sequence.prompt_ids)
            sequence.num_cached = sequence.num_reused
            self._running[sequence.request_id] = sequence
            room -= len(sequence.prompt_ids) - sequence.num_cached

    def _release(self, sequence: Sequence) -> None:
        self._slots.give_back(sequence.slot, sequence.ids[: sequence.num_cached])


def _shares(running: list[Sequence], budget: int) -> tuple[int, int]:
    """Return the tokens of each young and of each other row: the others get what the young leave."""
    rooms = [s.room for s in running if s.is_young]
    young = max(min(YOUNG_TOKENS, budget // max(len(rooms), 1)), LEAST_TOKENS)
    rest = budget - sum(min(room, young) for room in rooms)
    return young, max(rest // max(len(running) - len(rooms), 1), LEAST_TOKENS)
