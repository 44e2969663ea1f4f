"""A run's history as PNG pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from train.angles import ATTENTION, CORRELATION_FROM, FEED_FORWARD, TEMPERATURE_FROM, Spread, edges
from train.history import Evaluation, History, epochs_text
from train.optimizer import CLIP_NORM
from train.page import Picture

_DARK, _PALE, _WARM = "#0b6e99", "#a9cfe0", "#c2410c"
_STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e9ec",
    "axes.axisbelow": True,
    "legend.frameon": False,
}
_SMOOTHING_WINDOWS = 40  # that a run's points are parted into, for the smoothed line


def draw(folder: Path, history: History) -> list[Picture]:
    """Write each picture that the history has something for; return those."""
    drawn = []
    with mpl.rc_context(_STYLE):
        for picture, paint in _PICTURES:
            path = folder / picture.file
            path.unlink(missing_ok=True)  # that of an earlier report
            figure = paint(history)
            if figure is not None:
                figure.savefig(path, dpi=150)
                drawn.append(picture)
    return drawn


def _loss(history: History) -> Figure | None:
    values = [point.bits_per_token for point in history.points]
    return _curve(history, values, "loss (bits per token)")


def _bits_per_char(history: History) -> Figure | None:
    scored = [(e.epoch, e.bits_per_char) for e in history.evaluations if e.bits_per_char is not None]
    if not scored:
        return None
    figure, axes = _panel("epochs", "bits per character")
    epochs, scores = zip(*scored, strict=True)
    axes.plot(epochs, scores, color=_DARK, marker="o", markersize=4, label="held-out text")
    best = min(range(len(scores)), key=scores.__getitem__)
    label = f"best: {scores[best]:.3f} after epoch {epochs_text(epochs[best])}"
    axes.plot(epochs[best], scores[best], "o", color=_WARM, markersize=7, label=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.margins(y=0.15)
    axes.legend()
    return figure


def _text_quality(history: History) -> Figure | None:
    written = [(e.epoch, e.text) for e in history.evaluations if e.text is not None]
    if not written:
        return None
    figure, axes = _panel("epochs", "share of the text")
    epochs = [epoch for epoch, _ in written]
    axes.plot(epochs, [text.repetition for _, text in written], color=_DARK, marker=".", label="repeated")
    broken = [1 - text.validity for _, text in written]
    axes.plot(epochs, broken, color=_WARM, marker=".", label="broken characters")
    if history.held_out_text:
        held_out = history.held_out_text.repetition
        axes.axhline(held_out, color=_DARK, linestyle="--", linewidth=1, label="repeated in held-out text")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylim(bottom=0)
    axes.legend()
    return figure


def _learning_rate(history: History) -> Figure | None:
    if not history.points:
        return None
    figure, axes = _panel("tokens seen", "learning rate")
    axes.plot(
        history.tokens_seen, [p.matrix_lr for p in history.points], color=_WARM, label="Muon (matrices)"
    )
    axes.plot(history.tokens_seen, [p.lr for p in history.points], color=_DARK, label="AdamW (the rest)")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_ylim(bottom=0)
    axes.legend()
    return figure


def _gradient_norm(history: History) -> Figure | None:
    figure = _curve(history, [point.gradient_norm for point in history.points], "gradient norm")
    if figure is not None:
        (axes,) = figure.axes
        axes.axhline(CLIP_NORM, color=_WARM, linestyle="--", linewidth=1, label=f"clipped at {CLIP_NORM:g}")
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.legend()
    return figure


def _speed(history: History) -> Figure | None:
    figure = _curve(history, [point.tokens_per_second for point in history.points], "tokens a second")
    if figure is not None:
        (axes,) = figure.axes
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    return figure


def _correlation(history: History) -> Figure | None:
    spreads = _spreads(history.evaluations, "correlation")
    return _distributions(history.evaluations, spreads, CORRELATION_FROM, "r = cos 2θ")


def _temperature(history: History) -> Figure | None:
    spreads = _spreads(history.evaluations, "temperature")
    return _distributions(history.evaluations, spreads, TEMPERATURE_FROM, "T = |sin 2θ|")


def _panel(across: str, up: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.6, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    return figure, axes


def _curve(history: History, values: Sequence[float], up: str) -> Figure | None:
    """A pale line through all points, and a dark one through their means over a window."""
    if not values:
        return None
    figure, axes = _panel("tokens seen", up)
    num_steps = history.points[0].num_steps
    each = "each step" if num_steps == 1 else f"{num_steps} steps a point"
    window = max(len(values) // _SMOOTHING_WINDOWS, 1)
    axes.plot(history.tokens_seen, values, color=_PALE if window > 1 else _DARK, linewidth=1, label=each)
    if window > 1:
        middle = history.tokens_seen[(window - 1) // 2 :][: len(values) - window + 1]
        means = np.convolve(values, np.ones(window) / window, mode="valid")
        axes.plot(middle, means, color=_DARK, linewidth=1.8, label=f"mean over {window * num_steps} steps")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.legend()
    return figure


def _spreads(evaluations: Sequence[Evaluation], quantity: str) -> dict[tuple[int, str], list[Spread]]:
    """Return (block, path) -> the spread at each evaluation."""
    found: dict[tuple[int, str], list[Spread]] = {}
    for evaluation in evaluations:
        for layer in evaluation.angles:
            found.setdefault((layer.block, layer.path), []).append(getattr(layer, quantity))
    return found


def _distributions(
    evaluations: Sequence[Evaluation],
    spreads: dict[tuple[int, str], list[Spread]],
    lowest: float,
    up: str,
) -> Figure | None:
    """One panel a layer: a column for each evaluation, the darker the more neurons; a line of means."""
    if not spreads:
        return None
    epochs = [evaluation.epoch for evaluation in evaluations]
    num_blocks = max(block for block, _ in spreads)
    figure = Figure(figsize=(5.6, 0.8 + 1.5 * num_blocks), layout="constrained")
    panels = figure.subplots(num_blocks, 2, sharex=True, sharey=True, squeeze=False)
    most = max(max(each.counts) / sum(each.counts) for layer in spreads.values() for each in layer)
    for (block, path), layer in spreads.items():
        axes = panels[block - 1][(ATTENTION, FEED_FORWARD).index(path)]
        shares = np.array([np.array(each.counts) / sum(each.counts) for each in layer]).T  # (bins, epochs)
        mesh = axes.pcolormesh(_columns(epochs), edges(lowest), shares, cmap="Blues", vmin=0, vmax=most)
        axes.plot(epochs, [each.mean for each in layer], color=_WARM, marker=".")
        axes.set_title(f"block {block}, {path}", fontsize=10)
        axes.grid(visible=False)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    figure.supxlabel("epochs", fontsize=10)
    figure.supylabel(up, fontsize=10)
    figure.colorbar(mesh, ax=panels, label="share of the neurons", format="{x:.0%}", aspect=30)
    return figure


def _columns(epochs: Sequence[float]) -> np.ndarray:
    """Return the edges of columns around the epochs, halfway between neighbours."""
    between = [(one + two) / 2 for one, two in pairwise(epochs)]
    first = between[0] - epochs[0] if between else 0.5
    last = epochs[-1] - between[-1] if between else 0.5
    return np.array([epochs[0] - first, *between, epochs[-1] + last])


_PICTURES: tuple[tuple[Picture, Callable[[History], Figure | None]], ...] = (
    (
        Picture("loss.png", "Loss", "What each step was trained on, before it changed the weights."),
        _loss,
    ),
    (
        Picture(
            "bits_per_char.png",
            "Bits per character",
            "On held-out documents, after each epoch; lower is better.",
        ),
        _bits_per_char,
    ),
    (
        Picture(
            "text_quality.png",
            "Text",
            "Of what a server would answer to the fixed prompts: 4 characters that stood there before, and "
            "characters that Japanese is not written with.",
        ),
        _text_quality,
    ),
    (
        Picture(
            "learning_rate.png", "Learning rate", "Linear warm-up, then cosine decay, for both optimisers."
        ),
        _learning_rate,
    ),
    (
        Picture(
            "gradient_norm.png",
            "Gradient norm",
            "Before clipping; what lies above the dashed line was scaled down.",
        ),
        _gradient_norm,
    ),
    (
        Picture(
            "correlation.png",
            "Correlation r",
            "r = cos 2θ of the neurons of each QBNN layer, and their mean; epoch 0 is the untrained model.",
        ),
        _correlation,
    ),
    (
        Picture(
            "temperature.png",
            "Temperature T",
            "T = |sin 2θ|, the scale of the noise in training, and its mean; r² + T² = 1 for each neuron.",
        ),
        _temperature,
    ),
    (
        Picture("speed.png", "Speed", "Of the training steps alone, without evaluation and saving."),
        _speed,
    ),
)
