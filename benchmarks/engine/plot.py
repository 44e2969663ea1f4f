"""The results as a picture: one panel a batch size, one bar an engine, a mark at each precision's floor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.engine.candidates import CANDIDATES
from benchmarks.engine.figures import Figures
from benchmarks.engine.floor import Floor
from benchmarks.engine.rounds import Cell

_OURS, _RIVAL, _FLOOR = "#0b6e99", "#b8bcc2", "#c2410c"


def draw(
    path: Path,
    figures: Figures,
    engines: Sequence[str],
    batch_sizes: Sequence[int],
    new_tokens: int,
    floors: dict[str, Floor],
) -> None:
    """Write an SVG; the same figures give the same file."""
    mpl.rcParams.update({"svg.hashsalt": "neuroq", "svg.fonttype": "none"})
    figure = Figure(figsize=(3 + 3.2 * len(batch_sizes), 1.2 + 0.3 * len(engines)), layout="constrained")
    panels = figure.subplots(1, len(batch_sizes), sharey=True, squeeze=False)[0]
    for panel, size in zip(panels, batch_sizes, strict=True):
        rates = [figures.rate(Cell(name, size, new_tokens)) or 0 for name in engines]
        colours = [_OURS if name.startswith("neuroq-") else _RIVAL for name in engines]
        bars = panel.barh([CANDIDATES[name].title for name in engines], rates, color=colours)
        panel.bar_label(bars, [f"{rate:,.0f}" if rate else "" for rate in rates], padding=3, fontsize=7)
        for row, name in enumerate(engines):
            if name.removeprefix("neuroq-") in floors:
                bound = floors[name.removeprefix("neuroq-")].tokens_per_second(size)
                panel.vlines(bound, row - 0.4, row + 0.4, colors=_FLOOR)
        panel.set_title(f"batch {size}", fontsize=9)
        panel.set_xlabel("tokens a second", fontsize=8)
        panel.tick_params(labelsize=7)
        panel.margins(x=0.2)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].invert_yaxis()
    figure.suptitle(f"One thread, {new_tokens} new tokens; the mark is the machine's floor", fontsize=9)
    figure.savefig(path, metadata={"Date": None})
