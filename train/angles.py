"""How the APQB angles of a network are spread: r = cos 2θ and T = |sin 2θ| of each QBNN layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from model import apqb
from model.network import Block, NeuroQ
from model.qbnn import QBNN

NUM_BINS = 20
CORRELATION_FROM, TEMPERATURE_FROM, TO = -1.0, 0.0, 1.0
ATTENTION, FEED_FORWARD = "attention", "feed-forward"


@dataclass(frozen=True)
class Spread:
    """How many neurons fall into each of NUM_BINS equal bins, and the mean over them."""

    counts: tuple[int, ...]
    mean: float


@dataclass(frozen=True)
class LayerAngles:
    """One QBNN layer: `block` counts from 1, `path` is the block's path that the layer lies on."""

    block: int
    path: str
    correlation: Spread
    temperature: Spread

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LayerAngles:
        """Read what dataclasses.asdict made."""
        correlation, temperature = Spread(**values["correlation"]), Spread(**values["temperature"])
        return cls(values["block"], values["path"], correlation, temperature)


def measure_angles(model: NeuroQ) -> tuple[LayerAngles, ...]:
    """Return the spread of r and T in the attention and feed-forward QBNN of each block."""
    blocks = [block for block in model.blocks if isinstance(block, Block)]
    return tuple(
        _layer(number, path, qbnn)
        for number, block in enumerate(blocks, start=1)
        for path, qbnn in ((ATTENTION, block.attention.qbnn), (FEED_FORWARD, block.qbnn))
    )


def edges(lowest: float) -> np.ndarray:
    """Return the NUM_BINS + 1 edges of the bins from `lowest` to 1."""
    return np.linspace(lowest, TO, NUM_BINS + 1)


def _layer(number: int, path: str, qbnn: QBNN) -> LayerAngles:
    theta = qbnn.theta.detach().cpu()
    return LayerAngles(
        number,
        path,
        _spread(apqb.correlation(theta), CORRELATION_FROM),
        _spread(apqb.temperature(theta), TEMPERATURE_FROM),
    )


def _spread(values: Tensor, lowest: float) -> Spread:
    counts, _ = np.histogram(values.numpy(), edges(lowest))
    return Spread(tuple(counts.tolist()), values.mean().item())
