"""The training benchmark: see docs/benchmarks.md.

    benchmarks/run training [OPTIONS]

In each round every contender trains for some seconds in every shape, in an order drawn anew, while the
others wait. Writes training.md.
"""

from __future__ import annotations

import json
import os
import random
import shlex
import statistics
import subprocess
import sys
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import click

from benchmarks.machine import as_markdown, describe
from benchmarks.markdown import RIGHT, table

SEED_SHAPE = "16x48"
# What is demanded in the seed's shape, of the same work: the tokens a second with AdamW over the other's.
BOUNDS = {"plain": 2.0, "gpt2": 0.8}
TITLES = {
    "plain": "plain loop: the seed's layers and recipe, float32",
    "gpt2": "Hugging Face GPT-2, bf16 autocast",
    "neuroq-adamw": "NeuroQ, AdamW as in the others",
    "neuroq": "NeuroQ, Muon (default)",
}
OURS = ("neuroq-adamw", "neuroq")
_ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}


class Cell(NamedTuple):
    """One figure of the table."""

    contender: str
    shape: str


class Worker:
    """A process that trains only while `rate` waits for it."""

    def __init__(self, cell: Cell) -> None:
        command = [sys.executable, "-m", "benchmarks.training.worker", cell.contender, *cell.shape.split("x")]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **_ENVIRONMENT},
        )
        self._answer()

    def rate(self, seconds: float) -> float:
        """Return tokens a second over so many seconds. Raises RuntimeError when the process ended."""
        assert self._process.stdin is not None
        print(seconds, file=self._process.stdin, flush=True)
        tokens, took = self._answer()
        return float(tokens / took)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _answer(self) -> list[float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{shlex.join(map(str, self._process.args))} ended")  # type: ignore[arg-type]
        return json.loads(line)  # type: ignore[no-any-return]


@click.command(help="Tokens a second that training takes in, beside a plain loop and GPT-2.")
@click.option("--shape", "shapes", multiple=True, default=[SEED_SHAPE, "8x256"], show_default=True)
@click.option("--contender", "contenders", multiple=True, type=click.Choice([*TITLES]), default=[*TITLES])
@click.option("--rounds", type=click.IntRange(1), default=9, show_default=True)
@click.option("--seconds", type=click.FloatRange(0.1), default=2.0, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("docs/benchmarks"), show_default=True)
def main(
    shapes: tuple[str, ...], contenders: tuple[str, ...], rounds: int, seconds: float, output: Path
) -> None:
    """Measure and write the page; fails when a bound is missed."""
    cells = [Cell(contender, shape) for shape in shapes for contender in contenders]
    rates: dict[Cell, list[float]] = defaultdict(list)
    with ExitStack() as stack:
        workers = {cell: Worker(cell) for cell in cells}
        for worker in workers.values():
            stack.callback(worker.close)
        for number in range(rounds):
            for cell in random.sample(cells, len(cells)):
                rates[cell].append(workers[cell].rate(seconds))
            click.echo(f"round {number + 1} of {rounds}", err=True)
    medians = {cell: statistics.median(rates[cell]) for cell in cells}
    output.mkdir(parents=True, exist_ok=True)
    page = _page(medians, rounds, seconds)
    (output / "training.md").write_text(page, encoding="utf-8")
    click.echo(page)
    ours = medians.get(Cell("neuroq-adamw", SEED_SHAPE), 0)
    missed = [name for name, bound in BOUNDS.items() if ours < bound * medians.get(Cell(name, SEED_SHAPE), 0)]
    sys.exit(bool(missed))


def _page(medians: dict[Cell, float], rounds: int, seconds: float) -> str:
    rows = [
        [
            shape.replace("x", " x "),
            TITLES[contender],
            f"{rate:,.0f}",
            *(f"{medians[ours] / rate:.2f} x" if (ours := Cell(n, shape)) in medians else "" for n in OURS),
        ]
        for (contender, shape), rate in medians.items()
    ]
    demanded = " and ".join(f"{bound:g} x {TITLES[name]}" for name, bound in BOUNDS.items())
    return "\n".join(
        [
            "# Training speed",
            "",
            f"Medians of {rounds} interleaved rounds of {seconds:g} s on two cores. Demanded in the seed's",
            f"shape ({SEED_SHAPE.replace('x', ' x ')}), with the same optimiser: {demanded}.",
            "[How it is measured](../benchmarks.md).",
            "",
            *table(["windows x tokens", "", "tokens/s", "AdamW over it", "Muon over it"], rows, align=RIGHT),
            "",
            f"- command: `{shlex.join(['benchmarks/run', 'training', *sys.argv[1:]])}`",
            *as_markdown(describe(["torch", "transformers"])),
            "",
        ]
    )


if __name__ == "__main__":
    main()
