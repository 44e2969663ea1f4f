"""The engine benchmark: see docs/benchmarks.md.

    benchmarks/run engine [OPTIONS]

Writes engine.md, engine.json and engine.svg.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import click

from benchmarks import machine
from benchmarks.anchors import BUILD, llama_cpp
from benchmarks.engine.candidates import CANDIDATES
from benchmarks.engine.figures import Figures, as_json
from benchmarks.engine.floor import Floor, measure_floors
from benchmarks.engine.report import Page
from benchmarks.engine.rounds import Rounds, run_rounds
from model.native.decoder import is_available, isa

DEFAULT = [name for name, candidate in CANDIDATES.items() if candidate.by_default]


@click.command(help="Decode speed of NeuroQ and its rivals, interleaved, one thread each.")
@click.option("--engine", "engines", multiple=True, type=click.Choice(list(CANDIDATES)), default=DEFAULT)
@click.option("--batch", "batch_sizes", multiple=True, type=click.IntRange(1), default=[1, 8, 32])
@click.option("--new-tokens", multiple=True, type=click.IntRange(1, 240), default=[50], show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=11, show_default=True)
@click.option("--seconds", type=click.FloatRange(0), default=0.3, show_default=True, help="Of one sample.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("docs/benchmarks"), show_default=True)
def main(
    engines: tuple[str, ...],
    batch_sizes: tuple[int, ...],
    new_tokens: tuple[int, ...],
    rounds: int,
    seconds: float,
    output: Path,
) -> None:
    """Measure and write the page."""
    logs = BUILD / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    floors = _floors()
    measured = run_rounds(
        [CANDIDATES[name] for name in engines],
        batch_sizes,
        new_tokens,
        rounds=rounds,
        seconds=seconds,
        logs=logs,
        report=lambda line: click.echo(line, err=True),
    )
    page = Page(
        figures=Figures(measured.samples),
        engines=[name for name in engines if name not in measured.left_out],
        batch_sizes=batch_sizes,
        new_tokens=new_tokens,
        floors=floors,
        left_out=measured.left_out,
        machine=_machine(engines),
        rounds=rounds,
        command=shlex.join(["benchmarks/run", "engine", *sys.argv[1:]]),
    )
    output.mkdir(parents=True, exist_ok=True)
    (output / "engine.md").write_text(page.markdown(), encoding="utf-8")
    (output / "engine.json").write_text(_json(page, measured), encoding="utf-8")
    _draw(page, output / "engine.svg")
    click.echo(page.markdown())


def _machine(engines: Sequence[str]) -> dict[str, str]:
    packages = {CANDIDATES[name].package for name in engines} - {""}
    about = machine.describe(sorted({"numpy", *packages}))
    about["llama.cpp"] = f"of {llama_cpp.PACKAGE} {llama_cpp.VERSION}, built for this processor"
    about["native library"] = isa() if is_available() else "not built"
    return about


def _floors() -> dict[str, Floor]:
    try:
        return measure_floors()
    except (OSError, subprocess.CalledProcessError) as error:
        click.echo(f"no floor: {error}", err=True)
        return {}


def _json(page: Page, measured: Rounds) -> str:
    """One line a cell: small, and a change shows in a diff."""
    head = {"command": page.command, "machine": page.machine, "left_out": page.left_out}
    lines = [f'"{name}": {json.dumps(value)}' for name, value in head.items()]
    floors = ",\n".join(json.dumps(asdict(floor)) for floor in page.floors.values())
    cells = ",\n".join(json.dumps(cell) for cell in as_json(measured.samples))
    return "{\n" + ",\n".join([*lines, f'"floors": [\n{floors}\n]', f'"cells": [\n{cells}\n]']) + "\n}\n"


def _draw(page: Page, path: Path) -> None:
    try:
        plot = import_module("benchmarks.engine.plot")
    except ImportError as error:
        click.echo(f"no plot: {error}", err=True)
        return
    plot.draw(path, page.figures, page.engines, page.batch_sizes, page.new_tokens[0], page.floors)


if __name__ == "__main__":
    main()
