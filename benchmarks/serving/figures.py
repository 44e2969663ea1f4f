"""From what came back to the figures that are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, NamedTuple

from benchmarks.serving.load import Outcome, Run
from benchmarks.serving.scenarios import Scenario


@dataclass(frozen=True)
class Percentiles:
    """The middle and the tail, in seconds."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Percentiles | None:
        """Return the percentiles (nearest rank) of values, None when there are none."""
        ordered = sorted(values)
        if not ordered:
            return None
        return cls(*(ordered[max(0, -(-len(ordered) * p // 100) - 1)] for p in (50, 95, 99)))


@dataclass(frozen=True)
class Figures:
    """What one kind of client saw in one run. `first` and `per_token` are of streamed replies only."""

    tokens_per_second: float
    requests_per_second: float
    latency: Percentiles | None
    first: Percentiles | None
    per_token: Percentiles | None
    tokens_per_event: float
    num_requests: int
    num_errors: int
    error: str


class Cell(NamedTuple):
    """What a figure belongs to."""

    system: str
    scenario: Scenario


@dataclass(frozen=True)
class Sample:
    """One run: figures by kind of client, and processor seconds per second of the run, by part."""

    figures: dict[str, Figures]
    cpu: dict[str, float]


def make_sample(run: Run, server_cpu: dict[str, float]) -> Sample:
    """Return the figures of a run during which the server used so many processor seconds."""
    names = dict.fromkeys(outcome.traffic for outcome in run.outcomes)
    figures = {name: _figures([o for o in run.outcomes if o.traffic == name], run.seconds) for name in names}
    cpu = {part: seconds / run.wall for part, seconds in {**server_cpu, "load generator": run.cpu}.items()}
    return Sample(figures, cpu)


def _figures(outcomes: Sequence[Outcome], seconds: float) -> Figures:
    good = [o for o in outcomes if not o.error]
    bad = [o for o in outcomes if o.error]
    measured = [o for o in good if 0 <= o.started < seconds]
    streamed = [o for o in measured if o.num_events > 1]
    return Figures(
        tokens_per_second=sum(o.num_tokens * _share(o, seconds) for o in good) / seconds,
        requests_per_second=sum(_share(o, seconds) for o in good) / seconds,
        latency=Percentiles.of(o.latency for o in measured),
        first=Percentiles.of(o.first - o.started for o in streamed),
        per_token=Percentiles.of((o.ended - o.first) / (o.num_tokens - 1) for o in streamed),
        tokens_per_event=_mean(o.num_tokens / (o.num_events - 1) for o in streamed),  # the last has no text
        num_requests=len(measured),
        num_errors=len(bad),
        error=bad[0].error if bad else "",
    )


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else 0.0


def _share(outcome: Outcome, seconds: float) -> float:
    """The part of a request's time inside the window: that much of its tokens counts as made there.

    Counting a request where it ends instead would be coarse when a window holds a few batches only.
    """
    inside = min(outcome.ended, seconds) - max(outcome.started, 0.0)
    return max(0.0, inside) / max(outcome.latency, 1e-9)


class Results:
    """All samples: medians over the rounds, and ratios within a round."""

    def __init__(self) -> None:
        self.samples: dict[Cell, list[Sample]] = {}

    def add(self, cell: Cell, sample: Sample) -> None:
        """Take a sample; those of a cell are in the order of the rounds."""
        self.samples.setdefault(cell, []).append(sample)

    def systems(self) -> list[str]:
        """Return the systems that were measured."""
        return list(dict.fromkeys(cell.system for cell in self.samples))

    def scenarios(self) -> list[Scenario]:
        """Return the scenarios that were measured."""
        return list(dict.fromkeys(cell.scenario for cell in self.samples))

    def values(self, cell: Cell, traffic: str, pick: Callable[[Figures], float | None]) -> list[float]:
        """Return a figure of every round that has it."""
        figures = (s.figures.get(traffic) for s in self.samples.get(cell, []))
        picked = (pick(f) for f in figures if f is not None)
        return [value for value in picked if value is not None]

    def median(self, cell: Cell, traffic: str, pick: Callable[[Figures], float | None]) -> float | None:
        """Return the median over the rounds, None for what was not measured."""
        values = self.values(cell, traffic, pick)
        return median(values) if values else None

    def errors(self) -> list[str]:
        """Return one line for each cell in which requests failed."""
        lines = []
        for cell, samples in self.samples.items():
            every = [figures for sample in samples for figures in sample.figures.values()]
            failed = sum(figures.num_errors for figures in every)
            if failed:
                where = f"{cell.system}, {cell.scenario.name} ({cell.scenario.wire.value})"
                first = next(figures.error for figures in every if figures.error)
                lines.append(f"{where}: {failed} of {failed + sum(f.num_requests for f in every)}: {first}")
        return lines

    def as_json(self) -> list[dict[str, Any]]:
        """Return every sample, rounded to what the clocks can tell."""
        return [
            {"system": cell.system, "scenario": cell.scenario.name, "wire": cell.scenario.wire.value}
            | {"rounds": [_rounded(asdict(sample)) for sample in samples]}
            for cell, samples in self.samples.items()
        ]


def ratio(above: Sequence[float], below: Sequence[float]) -> float | None:
    """Return the median of the ratios of two figures, each ratio from one round."""
    ratios = [a / b for a, b in zip(above, below, strict=False) if b > 0]
    return median(ratios) if ratios else None


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value
