"""What must hold, and whether it does."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.serving.figures import Cell, Figures, Results, ratio
from benchmarks.serving.kinds import Wire
from benchmarks.serving.scenarios import (
    HEALTH,
    HEALTH_IDLE,
    HEALTH_SATURATED,
    SHORT_ALONE,
    SHORT_AMONG_SHORT,
    SHORT_BESIDE_LONG,
    Scenario,
    closed_loop,
)
from benchmarks.serving.systems import HUGGING_FACE_HANDLER, NEUROQ, NEUROQ_INT8, NOOP
from benchmarks.serving.workload import MIXED, SHORT

JUDGED = closed_loop(32, Wire.REST)
MIN_THROUGHPUT_RATIO = 20.0
MAX_SHORT_RATIO = 2.0
MAX_HEALTH_RATIO = 5.0
MAX_HEALTH_P99 = 0.05  # seconds


@dataclass(frozen=True)
class Verdict:
    """One line of what must hold. `is_met` is None for what is only reported."""

    demand: str
    bound: str
    measured: str
    is_met: bool | None

    @property
    def word(self) -> str:
        """What the table says."""
        return "reported" if self.is_met is None else "met" if self.is_met else "**not met**"


def judge(results: Results) -> list[Verdict]:
    """Return the lines whose figures were measured."""
    lines = [
        *(
            _throughput(results, ours, rival)
            for ours in (NEUROQ, NEUROQ_INT8)
            for rival in results.systems()
            if rival.startswith(HUGGING_FACE_HANDLER)
        ),
        _short(
            results, SHORT_ALONE, f"{SHORT_BESIDE_LONG.name}, over {SHORT_ALONE.name} alone", is_judged=True
        ),
        _short(results, SHORT_AMONG_SHORT, "… over as many clients, all short", is_judged=False),
        _torchserve_share(results),
        _health_ratio(results),
        _health_p99(results),
    ]
    return [line for line in lines if line is not None]


def _throughput(results: Results, name: str, rival: str) -> Verdict | None:
    ours, theirs = (
        results.values(Cell(system, JUDGED), MIXED.name, lambda f: f.tokens_per_second)
        for system in (name, rival)
    )
    value = ratio(ours, theirs)
    if value is None:
        return None
    demand = f"{name}: tokens/s over TorchServe with {rival}, {JUDGED.name}, outputs of 10 to 200 tokens"
    is_met = value >= MIN_THROUGHPUT_RATIO
    return Verdict(demand, f"≥ {MIN_THROUGHPUT_RATIO:g} ×", f"{value:.1f} ×", is_met)


def _short(results: Results, baseline: Scenario, words: str, *, is_judged: bool) -> Verdict | None:
    beside, alone = (
        results.values(Cell(NEUROQ, scenario), SHORT.name, _p95) for scenario in (SHORT_BESIDE_LONG, baseline)
    )
    value = ratio(beside, alone)
    if value is None:
        return None
    is_met = value <= MAX_SHORT_RATIO if is_judged else None
    return Verdict(f"a short request's p95, {words}", f"≤ {MAX_SHORT_RATIO:g} ×", f"{value:.2f} ×", is_met)


def _torchserve_share(results: Results) -> Verdict | None:
    ours, bare = (
        results.values(Cell(name, JUDGED), MIXED.name, lambda f: f.tokens_per_second)
        for name in (NEUROQ, NOOP)
    )
    value = ratio(ours, bare)  # the time for a token is one over the rate
    if value is None:
        return None
    return Verdict(f"TorchServe's own share of the wall time, {JUDGED.name}", "", f"{value:.0%}", None)


def _health_ratio(results: Results) -> Verdict | None:
    busy, idle = (results.values(Cell(NEUROQ, s), HEALTH, _p99) for s in (HEALTH_SATURATED, HEALTH_IDLE))
    value = ratio(busy, idle)
    if value is None:
        return None
    demand = "health, p99 beside 32 long requests, over an idle server's"
    return Verdict(demand, f"≤ {MAX_HEALTH_RATIO:g} ×", f"{value:.1f} ×", value <= MAX_HEALTH_RATIO)


def _health_p99(results: Results) -> Verdict | None:
    value = results.median(Cell(NEUROQ, HEALTH_SATURATED), HEALTH, _p99)
    if value is None:
        return None
    bound, shown = f"≤ {MAX_HEALTH_P99 * 1e3:g} ms", f"{value * 1e3:.1f} ms"
    return Verdict("health, p99 beside 32 long requests", bound, shown, value <= MAX_HEALTH_P99)


def _p95(figures: Figures) -> float | None:
    return figures.latency.p95 if figures.latency else None


def _p99(figures: Figures) -> float | None:
    return figures.latency.p99 if figures.latency else None
