"""Normal noise for the QBNN layers, from a table: drawing it anew takes a twentieth of a step."""

from __future__ import annotations

import torch
from torch import Tensor

_SMALLEST = 1 << 20


class NoiseTable:
    """Standard normal numbers; every draw is a stretch of the table from a random place.

    The idea is the noise table of Salimans et al. 2017 (Evolution Strategies). The table comes from the
    seed, the places from PyTorch's generator.
    """

    def __init__(self, seed: int, largest_draw: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        size = max(4 * largest_draw, _SMALLEST)
        self._table = torch.randn(size, generator=generator).bfloat16()

    def draw(self, size: int) -> Tensor:
        """Return `size` numbers, bfloat16."""
        start = int(torch.randint(self._table.numel() - size, ()).item())
        return self._table[start : start + size]
