"""The optimiser and its learning-rate schedule."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from model.network import NeuroQ
from train.muon import Muon
from train.processes import Group

CLIP_NORM = 1.0
_FLOOR = 0.02  # share of the learning rate that is left at the end


@dataclass(frozen=True)
class Update:
    """What one step did: the learning rates of AdamW and Muon (0 without it), the norm before clipping."""

    lr: float
    matrix_lr: float
    gradient_norm: float


class Optimizer:
    """Muon for the projections inside the blocks, AdamW for everything else; or AdamW for all.

    The masked W and J of the QBNN layers are AdamW's: an orthogonalised step would be spent on the entries
    that the mask hides.

    Both follow one schedule: linear warm-up, then cosine decay. Gradients are clipped at norm 1; weight
    decay falls on matrices only. Muon orthogonalises the momentum of a matrix before the step
    (Jordan et al. 2024).
    """

    def __init__(
        self,
        model: NeuroQ,
        *,
        lr: float,
        matrix_lr: float,
        weight_decay: float,
        warmup: float,
        with_muon: bool = True,
    ) -> None:
        self._warmup = warmup
        self._parameters = list(model.parameters())
        linear = [m for m in model.blocks.modules() if isinstance(m, nn.Linear)] if with_muon else []
        inner = {id(m.weight) for m in linear}
        matrices = [p for p in self._parameters if id(p) in inner]
        tables = [p for p in self._parameters if p.ndim == 2 and id(p) not in inner]
        vectors = [p for p in self._parameters if p.ndim < 2]
        adamw = torch.optim.AdamW(
            [{"params": tables, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}],
            lr=lr,
            betas=(0.9, 0.95),
            fused=True,
        )
        muon = Muon(matrices, lr=matrix_lr, weight_decay=weight_decay) if matrices else None
        self._adamw, self._muon, self._lr = adamw, muon, lr
        self._matrix_lr = matrix_lr if muon else 0.0

    def step(self, done: float, group: Group) -> Update:
        """Update the weights, the same on every process; `done` in [0, 1] is the run's share behind it."""
        norm = nn.utils.clip_grad_norm_(self._parameters, CLIP_NORM).item()
        share = schedule(done, self._warmup)
        update = Update(self._lr * share, self._matrix_lr * share, norm)
        _set_lr(self._adamw, update.lr)
        self._adamw.step()
        if self._muon:
            _set_lr(self._muon, update.matrix_lr)
            self._muon.step(group)
        return update

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a resumed run needs."""
        muon = self._muon.state_dict() if self._muon else {}
        return {"adamw": self._adamw.state_dict(), "muon": muon}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state of an interrupted run; its tensors, which processes may share, are copied."""
        self._adamw.load_state_dict(copy.deepcopy(state["adamw"]))
        if self._muon:
            self._muon.load_state_dict(copy.deepcopy(state["muon"]))


def _set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for parameters in optimizer.param_groups:
        parameters["lr"] = lr


def schedule(done: float, warmup: float) -> float:
    """Return the share of the learning rate at `done` in [0, 1]: linear warm-up, then cosine decay."""
    if done < warmup:
        return max(done / warmup, 0.01)
    angle = math.pi * (done - warmup) / max(1.0 - warmup, 1e-9)
    return _FLOOR + (1 - _FLOOR) * 0.5 * (1 + math.cos(angle))
