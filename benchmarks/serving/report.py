"""The results as a Markdown page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks import machine
from benchmarks.markdown import table
from benchmarks.serving.figures import Cell, Figures, Percentiles, Results
from benchmarks.serving.kinds import Kind, Wire
from benchmarks.serving.profiling import Profile
from benchmarks.serving.scenarios import Scenario
from benchmarks.serving.verdicts import judge

Pick = Callable[[Figures], float | None]


@dataclass(frozen=True)
class Page:
    """Everything that the page tells."""

    results: Results
    settings: dict[str, str]
    machine: dict[str, str]
    left_out: dict[str, str]
    profile: Profile | None
    rounds: int
    seconds: float
    command: str

    def markdown(self) -> str:
        """Return the page."""
        lines = ["# Serving", "", *self._introduction(), "", "## What must hold", "", *self._verdicts()]
        for wire in Wire:
            lines += self._section(
                f"Closed loop, {wire.value}", self._of(Kind.CLOSED, wire), streamed=wire is Wire.SSE
            )
        lines += self._section("Open loop, REST", self._of(Kind.OPEN, Wire.REST))
        lines += self._section(
            "Short requests and their neighbours, REST", self._of(Kind.NEIGHBOURS, Wire.REST)
        )
        lines += self._section("Health checks", self._of(Kind.HEALTH, Wire.REST))
        if self.profile is not None:
            lines += ["", "## Where NeuroQ's time goes", "", *self.profile.markdown()]
        if self.left_out:
            lines += ["", "## Left out", "", *(f"- {name}: {why}" for name, why in self.left_out.items())]
        if self.results.errors():
            lines += ["", "## Failed requests", "", *(f"- {line}" for line in self.results.errors())]
        lines += ["", "## Systems", "", *(f"- {name}: {what}" for name, what in self.settings.items())]
        lines += ["", "## Machine", "", *machine.as_markdown(self.machine)]
        return "\n".join([*lines, f"- command: `{self.command}`", ""])

    def _introduction(self) -> list[str]:
        return [
            f"Real servers on this machine, {self.rounds} interleaved rounds of {self.seconds:g} seconds, "
            "medians. Random weights of",
            "the built-in model's size; prompts of 8 to 64 tokens, outputs of 10 to 200, each of exactly the "
            "length asked for.",
            "One load generator for all, on the same processors; the tables tell its share. Latencies in ms.",
            "[How it is measured](../benchmarks.md), [all samples](serving.json).",
            "",
            "![tokens a second](serving.svg)",
        ]

    def _verdicts(self) -> list[str]:
        rows = [[line.demand, line.bound, line.measured, line.word] for line in judge(self.results)]
        return table(["demand", "bound", "measured", ""], rows)

    def _of(self, kind: Kind, wire: Wire) -> list[Scenario]:
        return [s for s in self.results.scenarios() if s.kind is kind and s.wire is wire]

    def _section(self, title: str, scenarios: Sequence[Scenario], *, streamed: bool = False) -> list[str]:
        if not scenarios:
            return []
        header = ["", "system", "requests of", "tokens/s", "requests/s", "p50", "p95", "p99"]
        header += ["first token p50", "p95", "per token p50", "p95"] if streamed else []
        header += ["processors: server", "load"]
        return ["", f"## {title}", "", *table(header, self._rows(scenarios, streamed=streamed))]

    def _rows(self, scenarios: Sequence[Scenario], *, streamed: bool) -> Iterable[list[str]]:
        for scenario in scenarios:
            for system in self.results.systems():
                cell = Cell(system, scenario)
                for group in scenario.groups if cell in self.results.samples else ():
                    yield self._row(cell, group.name, streamed=streamed)

    def _row(self, cell: Cell, traffic: str, *, streamed: bool) -> list[str]:
        def shown(pick: Pick, form: str, scale: float = 1.0) -> str:
            value = self.results.median(cell, traffic, pick)
            return "–" if value is None else format(value * scale, form)

        row = [cell.scenario.name, cell.system, traffic]
        row += [shown(lambda f: f.tokens_per_second, ",.0f"), shown(lambda f: f.requests_per_second, ",.1f")]
        row += [shown(_percentile("latency", p), ",.1f", 1e3) for p in ("p50", "p95", "p99")]
        if streamed:
            row += [shown(_percentile("first", p), ",.1f", 1e3) for p in ("p50", "p95")]
            row += [shown(_percentile("per_token", p), ",.2f", 1e3) for p in ("p50", "p95")]
        return [*row, *self._processors(cell)]

    def _processors(self, cell: Cell) -> list[str]:
        """How many processors the server's parts kept busy, and the load generator."""
        samples = self.results.samples[cell]
        busy = {part: median(sample.cpu[part] for sample in samples) for part in samples[0].cpu}
        load = busy.pop("load generator")
        return [", ".join(f"{part} {value:.2f}" for part, value in busy.items()), f"{load:.2f}"]


def _percentile(name: str, percentile: str) -> Pick:
    def pick(figures: Figures) -> float | None:
        percentiles: Percentiles | None = getattr(figures, name)
        return None if percentiles is None else float(getattr(percentiles, percentile))

    return pick
