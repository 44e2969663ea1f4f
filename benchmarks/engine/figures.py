"""Medians and ratios of the samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.engine.rounds import Cell
from benchmarks.engine.sample import Sample

# So many undisturbed samples make a median by wall time; with fewer, processor time stands in, which
# other processes on the machine disturb less.
MIN_CLEAN = 3


@dataclass(frozen=True)
class Demand:
    """What must hold: NeuroQ in a precision over a rival at a batch size, by at least so much."""

    engine: str
    rival: str
    batch_size: int
    ratio: float


DEMANDS = (
    Demand("neuroq-int8", "ctranslate2-int8", 1, 2.0),
    Demand("neuroq-int8", "llama.cpp-q8_0", 1, 2.8),
    Demand("neuroq-float32", "ctranslate2-float32", 1, 1.1),
    Demand("neuroq-int8", "ctranslate2-int8", 8, 1.3),
    Demand("neuroq-int8", "ctranslate2-int8", 32, 1.2),
)


class Figures:
    """Tokens a second of each cell, by wall time where enough samples were undisturbed."""

    def __init__(self, samples: dict[Cell, list[Sample]]) -> None:
        self._samples = samples

    def is_by_wall(self, *cells: Cell) -> bool:
        """Whether all these cells have a figure by wall time."""
        return all(sum(s.is_clean for s in self._samples[cell]) >= MIN_CLEAN for cell in cells)

    def rate(self, cell: Cell) -> float | None:
        """Tokens a second, or None for a cell that was not measured."""
        if cell not in self._samples:
            return None
        return self._by_wall(cell) if self.is_by_wall(cell) else self._by_cpu(cell)

    def ratio(self, ours: Cell, rival: Cell) -> float | None:
        """How many times the rival's rate; both by the same clock."""
        if ours not in self._samples or rival not in self._samples:
            return None
        clock = self._by_wall if self.is_by_wall(ours, rival) else self._by_cpu
        return clock(ours) / clock(rival)

    def _by_wall(self, cell: Cell) -> float:
        return median(s.tokens / s.wall for s in self._samples[cell] if s.is_clean)

    def _by_cpu(self, cell: Cell) -> float:
        return median(s.tokens / s.cpu for s in self._samples[cell])


def as_json(samples: dict[Cell, list[Sample]]) -> list[dict[str, object]]:
    """Return every sample, rounded to what the clocks can tell."""
    return [{**cell._asdict(), **_columns(samples[cell])} for cell in samples]


def _columns(samples: Sequence[Sample]) -> dict[str, list[float | None]]:
    return {
        "tokens": [s.tokens for s in samples],
        "wall": [round(s.wall, 4) for s in samples],
        "cpu": [round(s.cpu, 4) for s in samples],
        "waited": [None if s.waited is None else round(s.waited, 4) for s in samples],
    }
