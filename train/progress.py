"""What a person sees while training runs, and what a program reads."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from train.loop import StepReport

_WRITE_EVERY_SECONDS = 0.5


class ProgressBar:
    """A bar with loss, speed and time left on a terminal; one line an epoch elsewhere."""

    def __init__(self, path: Path | None = None, console: Console | None = None) -> None:
        """`path` is a file that is kept up to date for programs."""
        self._path, self._written = path, 0.0
        self._last: StepReport | None = None
        self._console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self._tokens, self._started = 0, time.perf_counter()
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("loss {task.fields[loss]:.3f} · {task.fields[speed]:.0f} tokens/s ·"),
            TimeElapsedColumn(),
            TextColumn("· left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("training", total=1.0, epoch=1, loss=0.0, speed=0.0)

    @property
    def tokens_per_second(self) -> float:
        """Mean speed of this run so far, evaluation included."""
        return self._tokens / max(time.perf_counter() - self._started, 1e-9)

    def step(self, report: StepReport) -> None:
        """Show one training step."""
        self._tokens += report.num_tokens
        self._last = report
        self._bar.update(
            self._task,
            completed=report.done,
            epoch=report.position.epoch + 1,
            loss=report.nats / report.num_tokens,
            speed=self.tokens_per_second,
        )
        if time.monotonic() - self._written > _WRITE_EVERY_SECONDS:
            self._write(report)

    def _write(self, report: StepReport) -> None:
        """Write share, epoch (from 1) and loss (nats a token) as JSON; a reader never sees half of it."""
        if self._path is None:
            return
        self._written = time.monotonic()
        loss = report.nats / report.num_tokens
        temporary = self._path.with_suffix(".new")
        temporary.write_text(
            json.dumps({"progress": report.done, "epoch": report.position.epoch + 1, "loss": loss})
        )
        temporary.replace(self._path)

    def say(self, message: str) -> None:
        """Print a line above the bar."""
        self._console.print(message, markup=False)

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        if self._last is not None:
            self._write(self._last)
