"""Muon takes the steps of PyTorch's, alone and shared among processes; without it all steps are AdamW's."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from tests.conftest import tiny_model
from train.muon import Muon, orthogonalise
from train.optimizer import Optimizer
from train.processes import Alone, Group, group, prepare_processor

pytestmark = pytest.mark.unit
SHAPES = ((24, 8), (8, 8), (8, 24), (5, 8), (8, 5), (24, 8))


def matrices() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for shape in SHAPES]


def test_its_steps_are_those_of_torch() -> None:
    ours, theirs = ([m.clone().requires_grad_() for m in matrices()] for _ in range(2))
    optimizers = (
        Muon(ours, lr=0.02, weight_decay=0.05),
        torch.optim.Muon(theirs, lr=0.02, weight_decay=0.05, momentum=0.95),
    )
    for _ in range(3):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn_like(mine)
            other.grad = mine.grad.clone()
        optimizers[0].step(Alone())
        optimizers[1].step()
    for mine, other, before in zip(ours, theirs, matrices(), strict=True):
        assert (mine - other).abs().max() < 0.02 * (other - before).abs().max()


def other_process(members: Group) -> None:
    """What the second process does in the test below."""
    members.sum([torch.tensor([1.0, 2.0]), torch.full((2, 2), 3.0)])
    members.sum([torch.ones(7)])
    orthogonalise(matrices(), members)


def test_processes_add_up_and_share_the_matrices() -> None:
    prepare_processor()
    with group(2, 2000, other_process) as members:
        assert members.sum([torch.tensor([10.0, 20.0]), torch.zeros(2, 2)]).tolist() == [11, 22, 3, 3, 3, 3]
        assert members.sum([torch.ones(7)]).tolist() == [2] * 7  # more than before
        shared = [update.clone() for update in orthogonalise(matrices(), members)]
    alone = orthogonalise(matrices(), Alone())
    for ours, expected in zip(shared, alone, strict=True):
        assert torch.allclose(ours, expected, atol=0.02)


def test_without_muon_every_step_is_that_of_adamw() -> None:
    model = tiny_model(50)
    twin = copy.deepcopy(model)
    ours = Optimizer(model, lr=0.01, matrix_lr=0.02, weight_decay=0.0, warmup=0.0, with_muon=False)
    theirs = torch.optim.AdamW(twin.parameters(), lr=0.01, betas=(0.9, 0.95), weight_decay=0.0)
    for _ in range(2):
        for mine, other in zip(model.parameters(), twin.parameters(), strict=True):
            mine.grad = 1e-4 * torch.randn_like(mine)  # too small to be clipped
            other.grad = mine.grad.clone()
        assert ours.step(0.0, Alone()).matrix_lr == 0.0
        theirs.step()
    for mine, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(mine, other, atol=1e-6)
