"""A run's history as TensorBoard logs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from train.angles import CORRELATION_FROM, TEMPERATURE_FROM, Spread, edges
from train.history import Evaluation, History, Point


def write_events(folder: Path, history: History) -> None:
    """Write the whole history in place of what an earlier report left; the step counts training steps."""
    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    with SummaryWriter(str(folder)) as writer:
        for step, at, point in _timed(history.points):
            for tag, value in _scalars(point):
                writer.add_scalar(tag, value, step, walltime=at)
        for evaluation in history.evaluations:
            _write_evaluation(writer, evaluation)


def _timed(points: list[Point]) -> Iterator[tuple[int, float, Point]]:
    """Yield each point with its last step and a time, as if the run had just ended and had no pauses."""
    started = time.time() - sum(point.seconds for point in points)
    steps = accumulate(point.num_steps for point in points)
    seconds = accumulate(point.seconds for point in points)
    for step, passed, point in zip(steps, seconds, points, strict=True):
        yield step, started + passed, point


def _scalars(point: Point) -> Iterator[tuple[str, float]]:
    yield "train/bits_per_token", point.bits_per_token
    yield "train/gradient_norm", point.gradient_norm
    yield "learning_rate/adamw", point.lr
    yield "learning_rate/muon", point.matrix_lr
    yield "speed/tokens_per_second", point.tokens_per_second


def _write_evaluation(writer: SummaryWriter, evaluation: Evaluation) -> None:
    step = evaluation.num_steps
    if evaluation.bits_per_char is not None:
        writer.add_scalar("validation/bits_per_char", evaluation.bits_per_char, step)
    if evaluation.text is not None:
        writer.add_scalar("text/repetition", evaluation.text.repetition, step)
        writer.add_scalar("text/validity", evaluation.text.validity, step)
    for layer in evaluation.angles:
        tag = f"block_{layer.block}_{layer.path}"
        for name, spread, lowest in (
            ("r", layer.correlation, CORRELATION_FROM),
            ("T", layer.temperature, TEMPERATURE_FROM),
        ):
            writer.add_scalar(f"mean_{name}/{tag}", spread.mean, step)
            _write_histogram(writer, f"{name}/{tag}", spread, lowest, step)
    for number, sample in enumerate(evaluation.samples, start=1):
        writer.add_text(f"samples/{number}", f"{sample.prompt} → {sample.text}", step)


def _write_histogram(writer: SummaryWriter, tag: str, spread: Spread, lowest: float, step: int) -> None:
    """Every neuron counts as the middle of its bin."""
    limits, counts = edges(lowest), np.array(spread.counts)
    middles = (limits[:-1] + limits[1:]) / 2
    writer.add_histogram_raw(
        tag,
        min=lowest,
        max=limits[-1],
        num=counts.sum(),
        sum=counts @ middles,
        sum_squares=counts @ middles**2,
        bucket_limits=limits[1:].tolist(),
        bucket_counts=counts.tolist(),
        global_step=step,
    )
