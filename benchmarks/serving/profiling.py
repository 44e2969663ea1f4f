"""Where a step's time goes in NeuroQ on TorchServe, measured inside its worker."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.serving.figures import Sample, make_sample
from benchmarks.serving.load import Plan, Run
from benchmarks.serving.models import Model
from benchmarks.serving.rounds import load_generator
from benchmarks.serving.scenarios import Scenario
from benchmarks.serving.systems import HANDLERS, TorchServeSystem, neuroq
from benchmarks.serving.workload import MIXED, Ask, Mix
from server.settings import LOOPBACK

_PARTS = {
    "front end": "TorchServe's Java, from a reply to the next message, waiting for clients included",
    "read": "the message, read and unpacked field by field by TorchServe's worker",
    "unpack": "the worker's preparation of the requests",
    "handler": "NeuroQ's handler, waiting for something to send included",
    "encode": "the replies, written by TorchServe's worker",
    "service": "NeuroQ's service between two steps of the engine, in its own thread",
    "engine": "decoding, in the service's thread",
}
_WRITTEN = 1.0  # seconds after which the worker writes what it knows when it is asked anything


@dataclass(frozen=True)
class Count:
    """What the stopwatch in the worker had counted at one moment: handlers/stopwatch.py."""

    steps: int
    rows: int
    parts: dict[str, list[float]]

    def since(self, before: Count) -> Count:
        """Return what was added since an earlier moment."""
        zero = [0.0, 0.0, 0.0]
        parts = {
            name: [now - then for now, then in zip(values, before.parts.get(name, zero), strict=True)]
            for name, values in self.parts.items()
        }
        return Count(self.steps - before.steps, self.rows - before.rows, parts)


@dataclass(frozen=True)
class Profile:
    """A run with the stopwatch. `rows` of the count are the requests of each step, added up."""

    scenario: Scenario
    sample: Sample
    count: Count
    num_tokens: int

    @property
    def tokens_per_step(self) -> int:
        """How many tokens a request gets from one step of TorchServe to the next."""
        return max(1, round(self.num_tokens / max(self.count.rows, 1)))

    def markdown(self) -> list[str]:
        """Return a table of milliseconds a step."""
        steps = max(self.count.steps, 1)
        rate = self.sample.figures[MIXED.name].tokens_per_second
        busy = ", ".join(f"{part} {share:.2f}" for part, share in self.sample.cpu.items())
        return [
            f"{self.scenario.name}, {self.scenario.wire.value}: {rate:,.0f} tokens/s in {steps} steps of "
            f"{self.count.rows / steps:.1f} requests,",
            f"{self.tokens_per_step} tokens a request and step. Processors busy: {busy}.",
            "",
            "| of a step | times | ms | processor ms | |",
            "| --- | --- | --- | --- | --- |",
            *(self._row(name, words) for name, words in _PARTS.items()),
        ]

    def _row(self, name: str, words: str) -> str:
        wall, cpu, times = (
            value / max(self.count.steps, 1) for value in self.count.parts.get(name, (0, 0, 0))
        )
        return f"| {name} | {times:.2f} | {wall * 1e3:.2f} | {cpu * 1e3:.2f} | {words} |"


def profile(
    folder: Path, model: Model, asks: Mapping[Mix, Sequence[Ask]], scenario: Scenario, seconds: float
) -> Profile:
    """Run a scenario against NeuroQ with a stopwatch in its worker."""
    record = folder / "profile.json"
    system = neuroq(folder / "profiled", model)
    _put_stopwatch_in(system.archive, record)
    try:
        system.start()
        traffics = scenario.traffics(system, asks)
        plan = Plan(LOOPBACK, system.port(scenario.wire), traffics, warm_up=0.0, seconds=seconds)
        with load_generator() as send:
            send(plan)  # warms up
            before, cpu_before = _count(system, record), system.cpu_seconds()
            run = send(plan)
            after, cpu_after = _count(system, record), system.cpu_seconds()
    finally:
        system.stop()
    cpu = {part: cpu_after[part] - cpu_before[part] for part in cpu_after}
    return Profile(scenario, make_sample(run, cpu), after.since(before), _num_tokens(run))


def _num_tokens(run: Run) -> int:
    return sum(outcome.num_tokens for outcome in run.outcomes if not outcome.error)


def _count(system: TorchServeSystem, record: Path) -> Count:
    """Read what the worker wrote; a health check makes it write the rest."""
    time.sleep(_WRITTEN)
    system.check_health()
    return Count(**json.loads(record.read_text()))


def _put_stopwatch_in(archive: Path, record: Path) -> None:
    """Let another handler of the same archive be the one that TorchServe calls."""
    handler, stopwatch = HANDLERS / "profiled_handler.py", HANDLERS / "stopwatch.py"
    with zipfile.ZipFile(archive) as source:
        files = {name: source.read(name) for name in source.namelist() if not name.endswith("/")}
    manifest: dict[str, Any] = json.loads(files["MAR-INF/MANIFEST.json"])
    manifest["model"]["handler"] = handler.name
    config_name = manifest["model"]["configFile"]
    config = {**yaml.safe_load(files[config_name]), "profile_path": str(record)}
    files |= {
        "MAR-INF/MANIFEST.json": json.dumps(manifest).encode(),
        config_name: yaml.safe_dump(config).encode(),
        handler.name: handler.read_bytes(),
        stopwatch.name: stopwatch.read_bytes(),
    }
    with zipfile.ZipFile(archive, "w") as target:
        for name, content in files.items():
            target.writestr(name, content)
