"""The results as a Markdown page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import machine
from benchmarks.engine.candidates import CANDIDATES
from benchmarks.engine.figures import DEMANDS, MIN_CLEAN, Figures
from benchmarks.engine.floor import Floor
from benchmarks.engine.rounds import Cell
from benchmarks.engine.sample import MAX_WAITED
from benchmarks.engine.workload import PROMPT_LENGTH, TEMPERATURE, TOP_K, TOP_P
from benchmarks.markdown import RIGHT, table

PRECISIONS = ("float32", "bfloat16", "int8")


@dataclass(frozen=True)
class Page:
    """Everything that the page tells."""

    figures: Figures
    engines: Sequence[str]
    batch_sizes: Sequence[int]
    new_tokens: Sequence[int]
    floors: dict[str, Floor]
    left_out: dict[str, str]
    machine: dict[str, str]
    rounds: int
    command: str

    def markdown(self) -> str:
        """Return the page."""
        lines = ["# Decode speed", "", *self._introduction()]
        for length in self.new_tokens:
            lines += ["", f"## {length} new tokens", "", *self._rates(length)]
            if self._ours():
                lines += ["", "NeuroQ over each rival:", "", *self._ratios(length)]
            if any(self._demand_rows(length)):
                lines += ["", "What is demanded:", "", *self._demands(length)]
            if self.floors:
                lines += ["", "NeuroQ and the floor of this machine:", "", *self._floor_shares(length)]
        if self.left_out:
            lines += ["", "## Left out", "", *(f"- {name}: {why}" for name, why in self.left_out.items())]
        lines += ["", "## Machine", "", *machine.as_markdown(self.machine)]
        return "\n".join([*lines, f"- command: `{self.command}`", ""])

    def _introduction(self) -> list[str]:
        return [
            f"Tokens a second, one thread, random weights of the built-in model's size, a prompt of "
            f"{PROMPT_LENGTH} tokens (its time",
            f"included), sampled with top-k {TOP_K}, top-p {TOP_P}, temperature {TEMPERATURE}. "
            f"{self.rounds} interleaved rounds, medians.",
            f"Wall time of the samples in which the process waited for a processor for less than "
            f"{MAX_WAITED:.0%};",
            f"\\* where fewer than {MIN_CLEAN} samples were such: processor time of all samples. A ratio "
            "takes both sides by the same clock.",
            "[How it is measured](../benchmarks.md), [all samples](engine.json).",
            "",
            "![tokens a second](engine.svg)",
        ]

    def _rates(self, length: int) -> list[str]:
        rows = [
            [CANDIDATES[name].title, *(self._rate(Cell(name, size, length)) for size in self.batch_sizes)]
            for name in self.engines
        ]
        return table(["engine", *(f"batch {size}" for size in self.batch_sizes)], rows, align=RIGHT)

    def _rate(self, cell: Cell) -> str:
        rate = self.figures.rate(cell)
        if rate is None:
            return "–"
        return f"{rate:,.0f}" + ("" if self.figures.is_by_wall(cell) else "\\*")

    def _ratios(self, length: int) -> list[str]:
        ours = self._ours()
        rivals = [name for name in self.engines if name not in ours]
        header = [f"{name.removeprefix('neuroq-')}, batch {b}" for name in ours for b in self.batch_sizes]
        rows = [
            [
                CANDIDATES[rival].title,
                *(
                    _times(self.figures.ratio(Cell(name, size, length), Cell(rival, size, length)))
                    for name in ours
                    for size in self.batch_sizes
                ),
            ]
            for rival in rivals
        ]
        return table(["rival", *header], rows, align=RIGHT)

    def _ours(self) -> list[str]:
        return [name for name in (f"neuroq-{precision}" for precision in PRECISIONS) if name in self.engines]

    def _demands(self, length: int) -> list[str]:
        header = ["NeuroQ", "rival", "batch", "at least", "measured", ""]
        return table(header, self._demand_rows(length), align=RIGHT)

    def _demand_rows(self, length: int) -> list[list[str]]:
        rows = []
        for demand in DEMANDS:
            cells = (Cell(name, demand.batch_size, length) for name in (demand.engine, demand.rival))
            ratio = self.figures.ratio(*cells)
            if ratio is not None:
                names = [demand.engine.removeprefix("neuroq-"), CANDIDATES[demand.rival].title]
                verdict = "met" if ratio >= demand.ratio else "**not met**"
                rows.append([*names, str(demand.batch_size), _times(demand.ratio), _times(ratio), verdict])
        return rows

    def _floor_shares(self, length: int) -> list[str]:
        header = ["precision", "weights", "read", "multiply-adds"]
        header += [f"floor, batch {size} (share)" for size in self.batch_sizes]
        rows = [
            [
                floor.precision,
                f"{floor.weight_bytes / 1e6:.1f} MB",
                f"{floor.gigabytes_per_second:.0f} GB/s",
                f"{floor.gigamacs_per_second:.0f} G/s",
                *(self._share(floor, size, length) for size in self.batch_sizes),
            ]
            for floor in self.floors.values()
        ]
        return table(header, rows, align=RIGHT)

    def _share(self, floor: Floor, batch_size: int, length: int) -> str:
        bound = floor.tokens_per_second(batch_size)
        rate = self.figures.rate(Cell(f"neuroq-{floor.precision}", batch_size, length))
        return f"{bound:,.0f}" + (f" ({rate / bound:.0%})" if rate else "")


def _times(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.2f} ×"
