"""From logits to the next token, row by row: no row's result depends on another's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

FLUCTUATION_SCALE = 0.15
PENALTY_WINDOW = 20


@dataclass(frozen=True)
class SamplingParams:
    """How one request is sampled; ranges are checked by whoever takes requests from outside.

    `temp_min` and `temp_max` bound the quantum temperature (NeuroQ.quantum_temperature); both 0 is greedy.
    `top_k` 0 keeps the whole vocabulary. `seed` fixes the text, whatever else is in the batch.
    """

    max_new_tokens: int = 50
    temp_min: float = 0.4
    temp_max: float = 0.6
    top_k: int = 40
    top_p: float = 0.9
    repetition_penalty: float = 1.2
    quantum_noise: bool = False
    seed: int = 0


class SampledRow(Protocol):
    """What the sampler must know of a running sequence."""

    @property
    def params(self) -> SamplingParams:
        """How the row is sampled."""

    @property
    def temperature(self) -> float:
        """The resolved quantum temperature, 0 for greedy."""

    @property
    def generator(self) -> torch.Generator:
        """The row's own random numbers, on the CPU."""

    @property
    def output_ids(self) -> list[int]:
        """What the row has produced so far."""


def sample(logits: Tensor, rows: Sequence[SampledRow], fluctuation: float) -> list[int]:
    """Return one token id for each row of logits (B, vocab_size); `logits` is changed in place.

    Each row draws from its own generator only, and no more numbers than its own parameters ask for.
    """
    for row_logits, row in zip(logits, rows, strict=True):
        _penalise_repetition(row_logits, row)
        if row.params.quantum_noise and row.temperature > 0:
            noise = torch.randn(len(row_logits), generator=row.generator)
            row_logits.add_(noise.to(row_logits.device), alpha=FLUCTUATION_SCALE * fluctuation)
    tokens = [0] * len(rows)
    for top_k, members in _by_top_k(rows, logits.shape[1]).items():
        drawn = _draw(logits[members], [rows[i] for i in members], top_k)
        for i, token in zip(members, drawn.tolist(), strict=True):
            tokens[i] = token
    return tokens


def _penalise_repetition(logits: Tensor, row: SampledRow) -> None:
    penalty = row.params.repetition_penalty
    recent = row.output_ids[-PENALTY_WINDOW:]
    if penalty == 1.0 or not recent:
        return
    ids = torch.tensor(sorted(set(recent)), device=logits.device)
    values = logits[ids]
    logits[ids] = torch.where(values > 0, values / penalty, values * penalty)


def _by_top_k(rows: Sequence[SampledRow], vocab_size: int) -> dict[int, list[int]]:
    """Group row numbers by how many candidates they keep: one top-k call a group, alike for each row."""
    groups: dict[int, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        greedy = row.temperature <= 0
        groups[1 if greedy else min(row.params.top_k or vocab_size, vocab_size)].append(i)
    return groups


def _draw(logits: Tensor, rows: Sequence[SampledRow], top_k: int) -> Tensor:
    """Keep the top_k candidates, of those the nucleus top_p, and draw by inverting the distribution."""
    values, candidates = logits.float().topk(top_k, dim=-1)  # (n, k), largest first
    if top_k == 1:
        return candidates[:, 0]
    column = {"dtype": torch.float64, "device": logits.device}
    temperatures = torch.tensor([[row.temperature] for row in rows], **column)  # type: ignore[arg-type]
    top_p = torch.tensor([[row.params.top_p] for row in rows], **column)  # type: ignore[arg-type]
    uniform = torch.tensor([[_uniform(row)] for row in rows], **column)  # type: ignore[arg-type]
    probs = torch.softmax(values.double() / temperatures, dim=-1)  # (n, k)
    cumulative = probs.cumsum(dim=-1)
    probs = probs.masked_fill(cumulative - probs >= top_p, 0.0)  # the first candidate always stays
    cumulative = probs.cumsum(dim=-1)
    chosen = (cumulative <= uniform * cumulative[:, -1:]).sum(dim=-1, keepdim=True)
    return candidates.gather(1, chosen.clamp(max=top_k - 1))[:, 0]


def _uniform(row: SampledRow) -> float:
    return torch.rand((), dtype=torch.float64, generator=row.generator).item()
