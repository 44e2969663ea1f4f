"""Interleaved rounds: in each, every engine is measured once in every setting, in an order drawn anew."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import NamedTuple

from benchmarks.engine.candidates import Candidate
from benchmarks.engine.process import EngineError, EngineProcess
from benchmarks.engine.sample import Sample


class Cell(NamedTuple):
    """One figure of the tables."""

    engine: str
    batch_size: int
    new_tokens: int


@dataclass
class Rounds:
    """The samples of each cell, and why an engine has none."""

    samples: dict[Cell, list[Sample]] = field(default_factory=lambda: defaultdict(list))
    left_out: dict[str, str] = field(default_factory=dict)


def run_rounds(
    candidates: Sequence[Candidate],
    batch_sizes: Sequence[int],
    new_tokens: Sequence[int],
    *,
    rounds: int,
    seconds: float,
    logs: Path,
    report: Callable[[str], None],
) -> Rounds:
    """Measure; one process computes at a time. `report` is told how far it is."""
    result = Rounds()
    processes = {each.name: EngineProcess(each.name, logs / f"{each.name}.log") for each in candidates}
    try:
        for number in range(rounds):
            for batch_size, length in product(batch_sizes, new_tokens):
                cells = [Cell(each.name, batch_size, length) for each in candidates if each.takes(batch_size)]
                for cell in random.sample(cells, len(cells)):
                    if cell.engine not in result.left_out:
                        _measure(result, processes[cell.engine], cell, seconds)
            report(f"round {number + 1} of {rounds}")
    finally:
        for process in processes.values():
            process.close()
    for name in result.left_out:
        result.samples = {cell: each for cell, each in result.samples.items() if cell.engine != name}
    return result


def _measure(result: Rounds, process: EngineProcess, cell: Cell, seconds: float) -> None:
    try:
        sample = process.sample(cell.batch_size, cell.new_tokens, seconds)
    except EngineError as error:
        result.left_out[cell.engine] = str(error)
    else:
        result.samples[cell].append(sample)
