"""The reference decode path: plain PyTorch, on any device; CUDA graphs where there is a GPU."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from model.cache import KeyValueCache
from model.decoder import Decoded, Row
from model.network import NeuroQ
from model.sampling import SamplingParams, TokenLogprobs, sample

_Item = TypeVar("_Item")
# Rows of one pass on the CPU, empty ones included. The shape never changes, so the matrix kernels always
# sum in the same order, and a row's result does not depend on what it shares the pass with.
ROWS_PER_PASS = 8


@dataclass
class _Running:
    """A row on its way through one call."""

    row: Row
    pending_ids: list[int]
    position: int
    output_ids: list[int]
    new_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprobs] = field(default_factory=list)

    @property
    def params(self) -> SamplingParams:
        return self.row.params

    @property
    def temperature(self) -> float:
        return self.row.temperature

    def accept(self, token: int, logprobs: TokenLogprobs | None) -> None:
        self.position += len(self.pending_ids)
        self.pending_ids = [token]
        self.output_ids.append(token)
        self.new_ids.append(token)
        if logprobs is not None:
            self.logprobs.append(logprobs)

    def decoded(self) -> Decoded:
        return Decoded(self.new_ids, self.logprobs if self.params.logprobs is not None else None)


class TorchDecoder:
    """Decodes with the network's own forward pass. Prompt ids go through passes of the same shape."""

    precision = "float32"

    def __init__(
        self,
        network: NeuroQ,
        *,
        num_slots: int,
        end_ids: Collection[int] = (),
        device: torch.device | str = "cpu",
    ) -> None:
        self.num_slots = num_slots
        self.context_length = network.config.context_length
        self.device = torch.device(device)
        self._network = network.to(self.device).freeze()
        self._end_ids = frozenset(end_ids)
        self._fluctuation = network.quantum_fluctuation()
        self._idle_slot = num_slots  # one slot more, which the empty rows of a pass write to
        self._cache = KeyValueCache(network.config, num_slots + 1, self.device)
        on_gpu = self.device.type == "cuda"
        self._rows_per_pass = max(num_slots, ROWS_PER_PASS) if on_gpu else ROWS_PER_PASS
        self._pass: Callable[[Tensor], Tensor] = self._forward
        if on_gpu:
            self._pass = _captured(self._forward, self._empty_rows().to(self.device))

    @torch.inference_mode()
    def decode(self, rows: Sequence[Row]) -> list[Decoded]:
        """See Decoder.decode."""
        everyone = [_Running(row, row.pending_ids, row.position, list(row.output_ids)) for row in rows]
        self._run_all_but_last(everyone)
        running = everyone
        while running:
            for group in _split(running, self._rows_per_pass):
                logits = self._run([self._last_pending(r) for r in group])
                for each, drawn in zip(group, sample(logits, group, self._fluctuation), strict=True):
                    each.accept(*drawn)
            running = [
                r for r in running if len(r.new_ids) < r.row.limit and r.new_ids[-1] not in self._end_ids
            ]
        return [r.decoded() for r in everyone]

    @torch.inference_mode()
    def logits(self, ids: Sequence[int]) -> Tensor:
        """See Decoder.logits."""
        inputs = [(token, 0, position) for position, token in enumerate(ids)]
        return torch.cat([self._run(part) for part in _split(inputs, self._rows_per_pass)]).float().cpu()

    def _run_all_but_last(self, running: list[_Running]) -> None:
        """Bring every row's cache up to its last pending id, whose logits are the first that matter."""
        inputs = [
            (token, r.row.slot, r.position + i) for r in running for i, token in enumerate(r.pending_ids[:-1])
        ]
        for part in _split(inputs, self._rows_per_pass):
            self._run(part)

    @staticmethod
    def _last_pending(running: _Running) -> tuple[int, int, int]:
        return running.pending_ids[-1], running.row.slot, running.position + len(running.pending_ids) - 1

    def _run(self, inputs: Sequence[tuple[int, int, int]]) -> Tensor:
        """One pass over at most rows_per_pass of (id, slot, position); returns (len(inputs), vocab_size)."""
        rows = self._empty_rows()
        rows[:, : len(inputs)] = torch.tensor(list(inputs)).T
        return self._pass(rows.to(self.device))[: len(inputs)]

    def _empty_rows(self) -> Tensor:
        rows = torch.zeros(3, self._rows_per_pass, dtype=torch.long)
        rows[1] = self._idle_slot
        return rows

    def _forward(self, rows: Tensor) -> Tensor:
        """Ids, slots and positions as one tensor (3, B) -> logits (B, vocab_size)."""
        ids, slots, positions = rows
        logits: Tensor = self._network(ids[:, None], positions[:, None], cache=self._cache.rows(slots))
        return logits[:, -1]


def _split(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]


def _captured(forward: Callable[[Tensor], Tensor], example: Tensor) -> Callable[[Tensor], Tensor]:
    """Record a pass as a CUDA graph: one launch instead of hundreds, at these sizes nearly all of the time.

    The graph reads and writes fixed memory, so the result is valid until the next call.
    """
    with torch.inference_mode():
        rows = example.clone()
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # libraries allocate their workspaces outside of the graph
            for _ in range(3):
                forward(rows)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            logits = forward(rows)

    def replay(inputs: Tensor) -> Tensor:
        rows.copy_(inputs)
        graph.replay()
        return logits.clone()

    return replay
