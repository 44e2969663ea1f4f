"""The least time that a decode step can take on this machine: to read the weights, to multiply by them."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.anchors.compiler import compiled
from benchmarks.engine.candidates.neuroq import random_network
from model.network import NeuroQ
from model.qbnn import QBNN

_PROGRAM = Path(__file__).with_name("floor.c")
BYTES = {"float32": 4, "bfloat16": 2, "int8": 1}


@dataclass(frozen=True)
class Floor:
    """One precision's bound, for one thread.

    A step reads `weight_bytes` once and does `macs` multiply-adds for each row of the batch.
    """

    precision: str
    weight_bytes: int
    macs: int
    gigabytes_per_second: float
    gigamacs_per_second: float

    def tokens_per_second(self, batch_size: int) -> float:
        """The bound: whichever takes longer, reading or multiplying."""
        reading = self.weight_bytes / (self.gigabytes_per_second * 1e9)
        multiplying = batch_size * self.macs / (self.gigamacs_per_second * 1e9)
        return batch_size / max(reading, multiplying)


def measure_floors() -> dict[str, Floor]:
    """Return the bound of each precision that the processor multiplies in.

    Raises OSError or CalledProcessError where there is no C compiler.
    """
    weights, macs = work(random_network())
    sizes = {precision: weights * width for precision, width in BYTES.items()}
    program = compiled(_PROGRAM)
    printed = subprocess.run(
        [program, *(str(size) for size in sizes.values())], check=True, capture_output=True, text=True
    ).stdout
    measured = json.loads(printed)
    return {
        precision: Floor(precision, size, macs, measured["read"][str(size)], measured["multiply"][precision])
        for precision, size in sizes.items()
        if precision in measured["multiply"]
    }


def work(network: NeuroQ) -> tuple[int, int]:
    """Return the weights that a token's pass reads and the multiply-adds that it takes with them.

    Counted as the pass calls its layers; attention over the past, a few percent more, is left out.
    """
    weights: dict[nn.Module, int] = {}
    macs = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        if isinstance(module, nn.Linear):
            weights[module] = module.weight.numel()
            macs += weights[module]
        elif isinstance(module, QBNN):
            weights[module] = module.weight.numel() + module.entangle.numel()
            macs += weights[module] * module.num_steps

    hooks = [module.register_forward_hook(count) for module in network.modules()]
    with torch.no_grad():
        network(torch.zeros(1, 1, dtype=torch.long))
    for hook in hooks:
        hook.remove()
    return sum(weights.values()), macs
