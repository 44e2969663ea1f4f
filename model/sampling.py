"""From logits to the next token, row by row: no row's result depends on another's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from model import draws

FLUCTUATION_SCALE = 0.15
PENALTY_WINDOW = 20


@dataclass(frozen=True)
class SamplingParams:
    """How one request is sampled; ranges are checked by whoever takes requests from outside.

    `temp_min` and `temp_max` bound the quantum temperature (NeuroQ.quantum_temperature); both 0 is greedy.
    `top_k` 0 keeps the whole vocabulary. `seed` fixes the text, whatever else is in the batch. `logprobs`
    asks for each token's log probability and for those of so many most likely ones.
    """

    max_new_tokens: int = 50
    temp_min: float = 0.4
    temp_max: float = 0.6
    top_k: int = 40
    top_p: float = 0.9
    repetition_penalty: float = 1.2
    quantum_noise: bool = False
    seed: int = 0
    logprobs: int | None = None


@dataclass(frozen=True)
class TokenLogprobs:
    """Natural logarithms of the network's own distribution, before penalty, noise and temperature.

    `top` holds (id, logprob) of the most likely tokens, best first.
    """

    logprob: float
    top: tuple[tuple[int, float], ...]


class SampledRow(Protocol):
    """What the sampler must know of a running sequence."""

    @property
    def params(self) -> SamplingParams:
        """How the row is sampled."""

    @property
    def temperature(self) -> float:
        """The resolved quantum temperature, 0 for greedy."""

    @property
    def output_ids(self) -> list[int]:
        """What the row has produced so far."""


def sample(
    logits: Tensor, rows: Sequence[SampledRow], fluctuation: float
) -> list[tuple[int, TokenLogprobs | None]]:
    """Return one token id for each row of logits (B, vocab_size), with its log probabilities if asked for.

    `fluctuation` is NeuroQ.quantum_fluctuation. `logits` is changed in place.
    """
    raw = {i: logits[i].log_softmax(-1) for i, row in enumerate(rows) if row.params.logprobs is not None}
    _penalise_repetition(logits, rows)
    _add_noise(logits, rows, fluctuation)
    tokens = [0] * len(rows)
    for top_k, members in _by_top_k(rows, logits.shape[1]).items():
        drawn = _draw(logits[members], [rows[i] for i in members], top_k)
        for i, token in zip(members, drawn.tolist(), strict=True):
            tokens[i] = token
    return [
        (token, _logprobs(raw[i], token, rows[i]) if i in raw else None) for i, token in enumerate(tokens)
    ]


def _logprobs(logprobs: Tensor, token: int, row: SampledRow) -> TokenLogprobs:
    values, ids = logprobs.topk(min(row.params.logprobs or 0, len(logprobs)))
    return TokenLogprobs(logprobs[token].item(), tuple(zip(ids.tolist(), values.tolist(), strict=True)))


def _penalise_repetition(logits: Tensor, rows: Sequence[SampledRow]) -> None:
    """Divide positive and multiply negative logits of what a row has just said."""
    recent = [row.output_ids[-PENALTY_WINDOW:] for row in rows]
    penalised = [i for i, row in enumerate(rows) if recent[i] and row.params.repetition_penalty != 1.0]
    if not penalised:
        return
    # Short windows repeat an id of their own: it is written twice, with the same value.
    windows = [recent[i] + recent[i][:1] * (PENALTY_WINDOW - len(recent[i])) for i in penalised]
    ids = torch.tensor(windows, device=logits.device)
    row = torch.tensor(penalised, device=logits.device)[:, None]
    penalty = torch.tensor([[rows[i].params.repetition_penalty] for i in penalised], device=logits.device)
    values = logits[row, ids]
    logits[row, ids] = torch.where(values > 0, values / penalty, values * penalty)


def _add_noise(logits: Tensor, rows: Sequence[SampledRow], fluctuation: float) -> None:
    for row_logits, row in zip(logits, rows, strict=True):
        if row.params.quantum_noise and row.temperature > 0:
            noise = draws.normals(row.params.seed, len(row.output_ids), len(row_logits))
            scale = FLUCTUATION_SCALE * fluctuation
            row_logits.add_(torch.from_numpy(noise).to(row_logits.device), alpha=scale)


def _by_top_k(rows: Sequence[SampledRow], vocab_size: int) -> dict[int, list[int]]:
    """Group row numbers by how many candidates they keep: one top-k call a group, alike for each row."""
    groups: dict[int, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        greedy = row.temperature <= 0
        groups[1 if greedy else min(row.params.top_k or vocab_size, vocab_size)].append(i)
    return groups


def _draw(logits: Tensor, rows: Sequence[SampledRow], top_k: int) -> Tensor:
    """Keep the top_k candidates, of those the nucleus top_p, and draw by inverting the distribution."""
    if top_k == 1:
        return logits.argmax(dim=-1)
    values, candidates = logits.float().topk(top_k, dim=-1)  # (n, k), largest first
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
    return draws.uniform(row.params.seed, len(row.output_ids))
