"""Muon for several processes: each orthogonalises its share of the matrices."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from train.processes import Group

# The Newton-Schulz iteration of Jordan et al. 2024.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
_EPSILON = 1e-7


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised (Jordan et al. 2024): the same step as `torch.optim.Muon`, sooner.

    Matrices of one shape go through the iteration together, and every process takes a share of them; at
    the seed's size that takes a third of the time of each process doing all of them one by one.
    """

    def __init__(
        self, matrices: Iterable[Tensor], *, lr: float, weight_decay: float, momentum: float = 0.95
    ) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, group: Group) -> None:  # type: ignore[override]
        """Update the matrices from their gradients, the same on every process of the group."""
        for parameters in self.param_groups:
            matrices = parameters["params"]
            wishes = [self._momentum(matrix, parameters["momentum"]) for matrix in matrices]
            updates = orthogonalise(wishes, group)
            for matrix, update in zip(matrices, updates, strict=True):
                rows, columns = matrix.shape
                lr = parameters["lr"]
                matrix.mul_(1 - lr * parameters["weight_decay"])
                matrix.add_(update, alpha=-lr * math.sqrt(max(1, rows / columns)))

    def _momentum(self, matrix: Tensor, momentum: float) -> Tensor:
        """Return Nesterov's mixture of a matrix's gradient and the mean of its gradients."""
        assert matrix.grad is not None
        state: dict[str, Any] = self.state[matrix]
        if not state:
            state["momentum"] = torch.zeros_like(matrix)
        state["momentum"].lerp_(matrix.grad, 1 - momentum)
        return matrix.grad.lerp(state["momentum"], momentum)


def orthogonalise(matrices: list[Tensor], group: Group) -> list[Tensor]:
    """Return for each matrix the nearest one with singular values of about 1."""
    stacks: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, matrix in enumerate(matrices):
        stacks[tuple(sorted(matrix.shape))].append(number)
    updates = [torch.zeros_like(matrix) for matrix in matrices]
    for turn, numbers in enumerate(stacks.values()):
        mine = numbers[(group.rank + turn) % group.size :: group.size]
        if mine:
            stack = torch.stack([_wide(matrices[number]) for number in mine]).bfloat16()
            for number, update in zip(mine, _newton_schulz(stack), strict=True):
                _wide(updates[number]).copy_(update)
    sums = torch.split(group.sum(updates), [update.numel() for update in updates])
    return [flat.view_as(update) for flat, update in zip(sums, updates, strict=True)]


def _wide(matrix: Tensor) -> Tensor:
    return matrix.T if matrix.shape[0] > matrix.shape[1] else matrix


def _newton_schulz(x: Tensor) -> Tensor:
    """x (B, rows, columns), rows <= columns -> the same shape."""
    a, b, c = _COEFFICIENTS
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=_EPSILON)
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x
