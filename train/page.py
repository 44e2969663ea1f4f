"""The report's HTML page: opens from disk, needs no script and nothing from the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from train.history import History, epochs_text
from train.summary import Rows, Summary

_TEMPLATE = Path(__file__).with_name("page.html")


@dataclass(frozen=True)
class Picture:
    """A PNG beside the page."""

    file: str
    title: str
    caption: str


def render(summary: Summary, history: History, pictures: Sequence[Picture], notes: Sequence[str]) -> str:
    """Return the page; `notes` tell what could not be made. Every text is escaped."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        summary=summary,
        headlines=_headlines(summary, history),
        pictures=pictures,
        samples=_samples(history),
        notes=notes,
    )


def _headlines(summary: Summary, history: History) -> Rows:
    """The figures that one looks for first."""
    rows = [
        (f"bits per character, {name}", _score(summary.metrics.get(f"{part}_bits_per_char")))
        for name, part in (("held-out text", "validation"), ("training text", "train"))
    ]
    speed = summary.metrics.get("tokens_per_second")
    return [
        *rows,
        *((f"answers, {name}", count) for name, count in summary.answers()),
        ("parameters", f"{summary.num_parameters / 1e6:.2f} M"),
        ("tokens seen", f"{sum(point.num_tokens for point in history.points):,}"),
        ("tokens a second, evaluation included", f"{speed:,}" if speed else "–"),
        ("training time", dict(summary.sizes())["training time"]),
    ]


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _samples(history: History) -> dict[str, Rows]:
    """Prompt -> the epoch and the text of each sample."""
    samples: dict[str, Rows] = {}
    for evaluation in history.evaluations:
        for sample in evaluation.samples:
            samples.setdefault(sample.prompt, []).append((epochs_text(evaluation.epoch), sample.text))
    return samples
