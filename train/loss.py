"""The loss of a batch: by the training kernels where they are, else by the network's own forward pass."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from model.native.build import BuildError
from model.network import NeuroQ
from train.batches import IGNORE, Batch
from train.forward import TrainingPass
from train.native.library import kernels

Loss = Callable[[Batch], Tensor]


def make_loss(network: NeuroQ, *, precision: str, seed: int, most_tokens: int) -> Loss:
    """Return a function from a batch to the nats over all its targets, a scalar.

    `precision` is fp32 or bf16. `most_tokens` is the largest number of tokens of a batch.
    """
    if network.head.weight.device.type == "cpu" and _has_kernels():
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        return TrainingPass(network, dtype, seed, most_tokens).loss
    return reference_loss(network, precision=precision)


def reference_loss(network: NeuroQ, *, precision: str) -> Loss:
    """Return the loss by the network's own forward pass, on any device."""

    def loss(batch: Batch) -> Tensor:
        with torch.autocast(batch.inputs.device.type, torch.bfloat16, enabled=precision == "bf16"):
            logits = network(batch.inputs, batch.positions, mask=batch.mask)  # (B, T, V)
        return F.cross_entropy(
            logits.flatten(0, 1).float(), batch.targets.flatten(), ignore_index=IGNORE, reduction="sum"
        )

    return loss


def _has_kernels() -> bool:
    try:
        kernels()
    except BuildError:
        return False
    return True
