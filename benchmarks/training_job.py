"""What a training job beside the server costs its clients: see docs/benchmarks.md.

    benchmarks/run training_job [OPTIONS]

One server, one job that trains as fast as it can. The same load comes in turns while the job is paused, by
SIGSTOP to its process group, and while it runs. Writes training.md; exit code 1 when the bound is not held.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import sample
from statistics import median

import click
import httpx
import psutil

from benchmarks.machine import as_markdown, describe
from benchmarks.markdown import RIGHT, table
from benchmarks.serving.figures import Percentiles
from benchmarks.serving.kinds import Wire
from benchmarks.serving.load import Plan, Run
from benchmarks.serving.models import make_model
from benchmarks.serving.rounds import load_generator
from benchmarks.serving.scenarios import Scenario, closed_loop, open_loop
from benchmarks.serving.systems import TorchServeSystem, neuroq
from benchmarks.serving.workload import MIXED, Ask, Mix, make_asks
from server.jobs import jobs_path, latest_job, stop_job
from server.settings import LOOPBACK

MAX_RATIO = 1.5
MIN_PROCESSORS = 0.5  # that the job must have kept busy under one of the loads at least
SCENARIOS = (closed_loop(1, Wire.REST), closed_loop(8, Wire.REST), open_loop(20))
JOB = {"action": "train", "epochs": 100_000, "batch_size": 8, "seq_length": 256}
WARM_UP = 0.25  # of the measured time, before it
START_SECONDS = 300.0


@dataclass
class Turns:
    """The p95 (seconds) of each turn, and how many processors the job kept busy in those in which it ran."""

    paused: list[float] = field(default_factory=list)
    running: list[float] = field(default_factory=list)
    processors: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """The median with the job running, without it being 1."""
        return median(self.running) / median(self.paused)

    def row(self, name: str) -> list[str]:
        """Return the table's row."""
        spread = f"{min(self.running) * 1000:.1f} to {max(self.running) * 1000:.1f}"
        figures = [f"{median(values) * 1000:.1f}" for values in (self.paused, self.running)]
        return [name, *figures, spread, f"{self.ratio:.2f}", f"{median(self.processors):.2f}"]


class Job:
    """The job's process group, which can be paused."""

    def __init__(self, number: int) -> None:
        self._number = number

    @property
    def seconds(self) -> float:
        """Processor seconds of the job so far."""
        total = 0.0
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if os.getpgid(process.pid) == self._number:
                    times = process.cpu_times()
                    total += times.user + times.system
        return total

    @contextmanager
    def running(self, runs: bool) -> Iterator[None]:
        """Let the job run in the block, or not; it is paused after it."""
        try:
            os.killpg(self._number, signal.SIGCONT if runs else signal.SIGSTOP)
            yield
        finally:
            os.killpg(self._number, signal.SIGSTOP)


@dataclass(frozen=True)
class Comparison:
    """Measures one server beside one job."""

    system: TorchServeSystem
    job: Job
    asks: Mapping[Mix, Sequence[Ask]]
    seconds: float
    send: Callable[[Plan], Run]

    def turn(self, scenario: Scenario, turns: Turns, *, runs: bool) -> None:
        """Measure once, with the job running or paused."""
        plan = Plan(
            host=LOOPBACK,
            port=self.system.port(scenario.wire),
            traffics=scenario.traffics(self.system, self.asks),
            warm_up=WARM_UP * self.seconds,
            seconds=self.seconds,
        )
        before = self.job.seconds
        with self.job.running(runs):
            run = self.send(plan)
        busy = (self.job.seconds - before) / run.wall
        bad = [outcome.error for outcome in run.outcomes if outcome.error]
        if bad:
            raise click.ClickException(f"{len(bad)} requests failed: {bad[0]}")
        found = Percentiles.of(o.latency for o in run.outcomes if 0 <= o.started < self.seconds)
        assert found is not None
        (turns.running if runs else turns.paused).append(found.p95)
        if runs:
            turns.processors.append(busy)


@contextmanager
def training(system: TorchServeSystem, run_dir: Path) -> Iterator[Job]:
    """Start a job by a request and give it when it trains; it is stopped in the end."""
    url = f"http://{LOOPBACK}:{system.port(Wire.REST)}/predictions/neuroq"
    headers = {"Authorization": f"Bearer {system.token}"}
    httpx.post(url, json=JOB, headers=headers, trust_env=False, timeout=30).raise_for_status()
    number: int | None = None
    try:
        deadline = time.monotonic() + START_SECONDS
        while (job := latest_job(run_dir)) is None or not job.progress:
            if time.monotonic() > deadline or (job and not job.is_active):
                raise click.ClickException(f"the job does not train: {job}; see {jobs_path(run_dir)}")
            time.sleep(0.5)
        number = job.pid
        assert number is not None
        yield Job(number)
    finally:
        if number is not None:
            os.killpg(number, signal.SIGCONT)
        stop_job(run_dir)


@click.command(name="training_job")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--seconds", type=click.FloatRange(0.5), default=4.0, show_default=True, help="Of one turn.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("docs/benchmarks"), show_default=True)
def main(rounds: int, seconds: float, output: Path) -> None:
    """Measure the p95 latency of requests with and without a training job beside the server."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left behind
    found = {scenario: Turns() for scenario in SCENARIOS}
    with tempfile.TemporaryDirectory(prefix="neuroq-training-") as folder, load_generator() as send:
        model = make_model(Path(folder) / "model")
        asks = {MIXED: make_asks(model.tokenizer, model.text, MIXED)}
        system = neuroq(Path(folder) / "server", model, training=True)
        try:
            system.start()
            with training(system, Path(folder) / "server" / "run") as job:
                comparison = Comparison(system, job, asks, seconds, send)
                for index in range(rounds):
                    for scenario, turns in found.items():
                        for runs in sample([False, True], 2):
                            comparison.turn(scenario, turns, runs=runs)
                    click.echo(f"round {index + 1} of {rounds}", err=True)
        finally:
            system.stop()
    page = _page({scenario.name: turns for scenario, turns in found.items()}, rounds, seconds)
    output.mkdir(parents=True, exist_ok=True)
    (output / "training_job.md").write_text(page, encoding="utf-8")
    click.echo(page)
    if max(median(turns.processors) for turns in found.values()) < MIN_PROCESSORS:
        raise click.ClickException("the job hardly ran beside other programs: the ratios say nothing")
    sys.exit(any(turns.ratio > MAX_RATIO for turns in found.values()))


def _page(found: Mapping[str, Turns], rounds: int, seconds: float) -> str:
    head = [
        "load",
        "p95 without, ms",
        "p95 beside the job, ms",
        "from to",
        "ratio",
        "processors the job kept busy",
    ]
    lines = [
        "# A training job beside the server",
        "",
        f"`{shlex.join(['benchmarks/run', 'training_job', *sys.argv[1:]])}`: medians of {rounds} turns of "
        f"{seconds:g} s each; the ratio may be {MAX_RATIO:g} at most.",
        "",
        *table(head, [turns.row(name) for name, turns in found.items()], align=RIGHT),
        "",
        *as_markdown(describe(["torch", "torchserve"])),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
