"""The optimiser and its learning-rate schedule."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

_FLOOR = 0.02  # share of the learning rate that is left at the end


class Optimizer:
    """AdamW with warm-up and cosine decay; weight decay on matrices only, gradients clipped at norm 1."""

    def __init__(self, model: nn.Module, *, lr: float, weight_decay: float, warmup: float) -> None:
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        matrices = [p for p in self._parameters if p.ndim >= 2]
        others = [p for p in self._parameters if p.ndim < 2]
        self._lr, self._warmup = lr, warmup
        self._adamw = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=lr,
            betas=(0.9, 0.95),
            fused=True,
        )

    def step(self, done: float) -> None:
        """Update the weights; `done` is the share of the run that lies behind, in [0, 1]."""
        nn.utils.clip_grad_norm_(self._parameters, 1.0)
        for group in self._adamw.param_groups:
            group["lr"] = self._lr * schedule(done, self._warmup)
        self._adamw.step()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self._adamw.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a resumed run needs."""
        return self._adamw.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state of an interrupted run."""
        self._adamw.load_state_dict(state)


def schedule(done: float, warmup: float) -> float:
    """Return the share of the learning rate at `done` in [0, 1]: linear warm-up, then cosine decay."""
    if done < warmup:
        return max(done / warmup, 0.01)
    angle = math.pi * (done - warmup) / max(1.0 - warmup, 1e-9)
    return _FLOOR + (1 - _FLOOR) * 0.5 * (1 + math.cos(angle))
