"""What a person sees while training runs."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from train.loop import StepReport


class ProgressBar:
    """A bar with loss, speed and time left on a terminal; one line an epoch elsewhere."""

    def __init__(self, console: Console | None = None) -> None:
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
        self._bar.update(
            self._task,
            completed=report.done,
            epoch=report.position.epoch + 1,
            loss=report.nats / report.num_tokens,
            speed=self.tokens_per_second,
        )

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
