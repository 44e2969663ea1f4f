"""The batching engine: a passive object that decodes many requests together, one step a call.

It sees token ids only, has no thread and no clock: whoever calls `step` drives it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Hashable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from model.cache import KeyValueCache
from model.network import NeuroQ
from model.sampling import SamplingParams, sample

# Rows of one decode pass. It is fixed, empty rows included, so that the matrix kernels run on the same
# shape whatever the load and a row's result never depends on its neighbours.
ROWS_PER_PASS = 8


class EngineFullError(RuntimeError):
    """More requests wait than the engine admits."""


class PromptTooLongError(ValueError):
    """The prompt does not fit the positions that the network was trained on."""


@dataclass
class Sequence:
    """One request in the engine: its prompt, what it has produced, and where it stands."""

    request_id: Hashable
    prompt_ids: list[int]
    params: SamplingParams
    temperature: float
    generator: torch.Generator
    context_length: int
    output_ids: list[int] = field(default_factory=list)
    slot: int = -1
    finish_reason: str | None = None

    @property
    def last_position(self) -> int:
        """Position of the newest token; the next decode pass writes there."""
        return len(self.prompt_ids) + len(self.output_ids) - 1

    def accept(self, token: int, end_ids: Collection[int]) -> None:
        """Take the next token: an end token stops the sequence and is not part of its output."""
        if token in end_ids:
            self.finish_reason = "stop"
            return
        self.output_ids.append(token)
        if len(self.output_ids) >= self.params.max_new_tokens or self.last_position >= self.context_length:
            self.finish_reason = "length"


@dataclass(frozen=True)
class Progress:
    """What one step brought to one request."""

    new_ids: list[int]
    finish_reason: str | None


class Engine:
    """Continuous batching over fixed cache slots.

    A step admits waiting requests into free slots, then decodes up to `max_tokens` tokens for every
    running row. A request joins between two tokens and leaves when it is done, so a short one never
    waits for a long one. The same request gives the same ids alone or in any company.
    """

    def __init__(
        self,
        model: NeuroQ,
        *,
        end_ids: Collection[int],
        num_slots: int = 16,
        max_waiting: int = 64,
        device: torch.device | str = "cpu",
    ) -> None:
        if num_slots < 1 or num_slots % ROWS_PER_PASS:
            raise ValueError(f"num_slots must be a positive multiple of {ROWS_PER_PASS}, got {num_slots}")
        self.model = model.to(device).freeze()
        self.device = torch.device(device)
        self.end_ids = frozenset(end_ids)
        self.max_waiting = max_waiting
        self._cache = KeyValueCache(model.config, num_slots, device)
        self._slots: list[Sequence | None] = [None] * num_slots
        self._waiting: deque[Sequence] = deque()
        self._fluctuation = model.quantum_fluctuation()

    @property
    def context_length(self) -> int:
        """Positions that a prompt and its reply may use together."""
        return self.model.config.context_length

    @property
    def num_running(self) -> int:
        """Requests that hold a slot."""
        return sum(sequence is not None for sequence in self._slots)

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
        if len(self._waiting) >= self.max_waiting + self._slots.count(None):
            raise EngineFullError(
                f"{len(self._waiting)} requests are waiting, the bound is {self.max_waiting}"
            )
        self._waiting.append(
            Sequence(
                request_id,
                list(prompt_ids),
                params,
                self.model.quantum_temperature(params.temp_min, params.temp_max),
                torch.Generator().manual_seed(params.seed),
                self.context_length,
            )
        )

    def cancel(self, request_id: Hashable) -> None:
        """Forget a request, waiting or running; its slot is free at once. Unknown ids are ignored."""
        self._waiting = deque(s for s in self._waiting if s.request_id != request_id)
        self._slots = [None if s and s.request_id == request_id else s for s in self._slots]

    @torch.inference_mode()
    def step(self, max_tokens: int = 1) -> dict[Hashable, Progress]:
        """Decode up to `max_tokens` tokens a row; return what is new for each request that moved."""
        if max_tokens < 1:
            raise ValueError(f"max_tokens must be at least 1, got {max_tokens}")
        seen = {s.request_id: (s, len(s.output_ids)) for s in (*self._slots, *self._waiting) if s}
        for _ in range(max_tokens):
            admitted = self._admit()
            if not admitted and not self.num_running:
                break
            self._decode(excluding=admitted)
            self._retire()
        return {
            request_id: Progress(sequence.output_ids[before:], sequence.finish_reason)
            for request_id, (sequence, before) in seen.items()
            if len(sequence.output_ids) > before or sequence.finish_reason
        }

    def _admit(self) -> set[int]:
        """Give free slots to waiting requests and sample the first token of each; return their slots."""
        admitted = set()
        for slot, occupant in enumerate(self._slots):
            if occupant is None and self._waiting:
                self._slots[slot] = sequence = self._waiting.popleft()
                sequence.slot = slot
                self._prefill(sequence)
                admitted.add(slot)
        return admitted

    def _prefill(self, sequence: Sequence) -> None:
        """Run the prompt alone: its shape depends on nothing but the request itself."""
        ids = torch.tensor([sequence.prompt_ids], device=self.device)
        positions = torch.arange(ids.shape[1], device=self.device)[None]
        rows = self._cache.rows(sequence.slot, sequence.slot + 1)
        logits = self.model(ids, positions, cache=rows)[:, -1]  # (1, vocab_size)
        self._sample(logits, [sequence])

    def _decode(self, excluding: set[int]) -> None:
        for first in range(0, len(self._slots), ROWS_PER_PASS):
            block = self._slots[first : first + ROWS_PER_PASS]
            running = [s for s in block if s and s.slot not in excluding and s.finish_reason is None]
            if running:
                logits = self._decode_pass(first, running)
                self._sample(logits, running)

    def _decode_pass(self, first: int, running: list[Sequence]) -> Tensor:
        """One forward pass over a block of slots; returns the logits (len(running), vocab_size).

        Rows that do not take part write to the last position of their slot, which is out of reach: a
        sequence that gets there is done, and a row attends to a position only after writing it itself.
        """
        ids = torch.zeros(ROWS_PER_PASS, 1, dtype=torch.long)
        positions = torch.full((ROWS_PER_PASS, 1), self.context_length - 1)
        for sequence in running:
            row = sequence.slot - first
            ids[row] = sequence.output_ids[-1]
            positions[row] = sequence.last_position
        rows = self._cache.rows(first, first + ROWS_PER_PASS)
        logits: Tensor = self.model(ids.to(self.device), positions.to(self.device), cache=rows)[:, -1]
        return logits[[sequence.slot - first for sequence in running]]

    def _sample(self, logits: Tensor, sequences: list[Sequence]) -> None:
        for sequence, token in zip(sequences, sample(logits, sequences, self._fluctuation), strict=True):
            sequence.accept(token, self.end_ids)

    def _retire(self) -> None:
        self._slots = [None if s and s.finish_reason else s for s in self._slots]
