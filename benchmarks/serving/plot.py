"""The results as a picture: tokens a second over the number of clients, one line a system, a panel a wire."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.serving.figures import Cell, Results
from benchmarks.serving.kinds import Kind, Wire
from benchmarks.serving.systems import NEUROQ
from benchmarks.serving.workload import MIXED

_OURS, _RIVALS = "#0b6e99", ("#b45309", "#d6a36c", "#6b7280", "#9ca3af", "#4d7c0f")


def draw(path: Path, results: Results) -> None:
    """Write an SVG; the same figures give the same file."""
    mpl.rcParams["svg.hashsalt"] = "neuroq"
    wires = list(dict.fromkeys(s.wire for s in results.scenarios() if s.kind is Kind.CLOSED))
    figure = Figure(figsize=(1 + 3.6 * len(wires), 3.6), layout="constrained")
    panels = figure.subplots(1, len(wires), sharey=True, squeeze=False)[0]
    for panel, wire in zip(panels, wires, strict=True):
        _draw_panel(panel, results, wire)
    panels[0].set_ylabel("tokens a second", fontsize=8)
    panels[0].legend(fontsize=7, frameon=False)
    figure.savefig(path, metadata={"Date": None})


def _draw_panel(panel: Axes, results: Results, wire: Wire) -> None:
    scenarios = [s for s in results.scenarios() if s.kind is Kind.CLOSED and s.wire is wire]
    places = range(len(scenarios))
    rivals = [name for name in results.systems() if name != NEUROQ]
    colours = {NEUROQ: _OURS, **dict(zip(rivals, _RIVALS, strict=False))}
    for system in results.systems():
        cells = [Cell(system, scenario) for scenario in scenarios]
        rates = [results.median(cell, MIXED.name, lambda f: f.tokens_per_second) for cell in cells]
        if any(rates):
            panel.plot(places, rates, marker="o", markersize=4, color=colours[system], label=system)
    panel.set_yscale("log")
    panel.set_xticks(places, [str(s.groups[0].clients) for s in scenarios])
    panel.set_xlabel("clients", fontsize=8)
    panel.set_title(wire.value, fontsize=9)
    panel.tick_params(labelsize=7)
    panel.spines[["top", "right"]].set_visible(False)
