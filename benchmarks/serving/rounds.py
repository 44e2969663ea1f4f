"""Interleaved rounds: in each, every system is measured once in every scenario, in an order drawn anew."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context

from benchmarks.serving.figures import Cell, Results, Sample, make_sample
from benchmarks.serving.kinds import Kind, Wire
from benchmarks.serving.load import Plan, Run, run_plan
from benchmarks.serving.scenarios import Scenario
from benchmarks.serving.systems import System
from benchmarks.serving.workload import MIXED, Ask, Mix
from server.settings import LOOPBACK

_WARM_UP = 0.25  # of the measured time, before it
_REST = 0.2  # seconds between two runs
_SUSTAINABLE = 0.9  # of the closed loop's requests a second


@dataclass(frozen=True)
class Rounds:
    """How to measure: `seconds` a run, times a system's patience."""

    systems: Sequence[System]
    scenarios: Sequence[Scenario]
    asks: Mapping[Mix, Sequence[Ask]]
    seconds: float

    def run(self, number: int, report: Callable[[str], None]) -> Results:
        """Measure so many rounds. All servers must be up; idle ones cost nothing."""
        results = Results()
        with load_generator() as send:
            for index in range(number):
                for scenario in self.scenarios:
                    for system in random.sample(self.systems, len(self.systems)):
                        if self._takes(system, scenario, results):
                            sample = measure(system, scenario, self.asks, self.seconds, send)
                            results.add(Cell(system.traits.name, scenario), sample)
                report(f"round {index + 1} of {number}")
        return results

    @staticmethod
    def _takes(system: System, scenario: Scenario, results: Results) -> bool:
        """A rate that a closed loop does not reach would only measure how long the queue grew."""
        traits = system.traits
        if scenario.wire not in traits.wires or scenario.kind not in traits.kinds:
            return False
        if scenario.kind is not Kind.OPEN:
            return True
        closed = (Cell(traits.name, each) for each in results.scenarios() if each.kind is Kind.CLOSED)
        reached = (results.median(cell, MIXED.name, lambda f: f.requests_per_second) for cell in closed)
        return scenario.rate <= _SUSTAINABLE * max(filter(None, reached), default=float("inf"))


def measure(
    system: System,
    scenario: Scenario,
    asks: Mapping[Mix, Sequence[Ask]],
    seconds: float,
    send: Callable[[Plan], Run],
) -> Sample:
    """Run one scenario against one system."""
    seconds *= system.traits.patience
    plan = Plan(
        host=LOOPBACK,
        port=system.port(scenario.wire),
        traffics=scenario.traffics(system, asks),
        warm_up=_WARM_UP * seconds,
        seconds=seconds,
        is_grpc=scenario.wire is Wire.GRPC,
        token=system.token,
    )
    before = system.cpu_seconds()
    run = send(plan)
    after = system.cpu_seconds()
    time.sleep(_REST)
    return make_sample(run, {part: after[part] - before[part] for part in after})


@contextmanager
def load_generator() -> Iterator[Callable[[Plan], Run]]:
    """Give a function that sends a plan from a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        yield lambda plan: process.submit(run_plan, plan).result()
