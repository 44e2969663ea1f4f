"""The serving benchmark: see docs/benchmarks.md.

    benchmarks/run serving [OPTIONS]

Writes serving.md, serving.json and serving.svg.
"""

from __future__ import annotations

import json
import shlex
import signal
import sys
import tempfile
from importlib import import_module
from pathlib import Path

import click

from benchmarks import machine
from benchmarks.serving.fleet import SYSTEMS, Fleet, running
from benchmarks.serving.kinds import Wire
from benchmarks.serving.models import make_model
from benchmarks.serving.profiling import profile
from benchmarks.serving.report import Page
from benchmarks.serving.rounds import Rounds
from benchmarks.serving.scenarios import all_scenarios, closed_loop
from benchmarks.serving.workload import LONG, MIXED, SHORT, make_asks

PACKAGES = ["torch", "torchserve", "transformers", "grpcio"]
QUICK_SECONDS = 1.0


@click.command(help="Throughput and latency of NeuroQ's server and its rivals', interleaved.")
@click.option("--system", "names", multiple=True, type=click.Choice(list(SYSTEMS)), default=list(SYSTEMS))
@click.option("--clients", multiple=True, type=click.IntRange(1), default=[1, 8, 32, 64], show_default=True)
@click.option(
    "--rate", "rates", multiple=True, type=click.FloatRange(0.1), default=[5, 20, 80], show_default=True
)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--seconds", type=click.FloatRange(0.5), default=10.0, show_default=True, help="Of one run.")
@click.option("--quick", is_flag=True, help="One round of short runs with 4 clients: does it work?")
@click.option("--profile", "is_profile", is_flag=True, help="Only tell where NeuroQ's time goes.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("docs/benchmarks"), show_default=True)
def main(
    names: tuple[str, ...],
    clients: tuple[int, ...],
    rates: tuple[float, ...],
    rounds: int,
    seconds: float,
    quick: bool,
    is_profile: bool,
    output: Path,
) -> None:
    """Measure and write the page."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no server is left behind
    scenarios = all_scenarios(clients, rates)
    if quick:
        rounds, seconds, scenarios = 1, QUICK_SECONDS, [closed_loop(4, wire) for wire in Wire]
    with tempfile.TemporaryDirectory(prefix="neuroq-serving-") as folder:
        model = make_model(Path(folder) / "model")
        asks = {mix: make_asks(model.tokenizer, model.text, mix) for mix in (MIXED, SHORT, LONG)}
        if is_profile:
            for scenario in (closed_loop(32, Wire.REST), closed_loop(32, Wire.SSE)):
                found = profile(Path(folder) / scenario.wire.name, model, asks, scenario, seconds)
                click.echo("\n".join([*found.markdown(), ""]))
            return
        fleet = Fleet(Path(folder), model, asks)
        with running(fleet, names, _tell):
            results = Rounds(fleet.systems, scenarios, asks, seconds).run(rounds, _tell)
    page = Page(
        results=results,
        settings={system.traits.name: system.traits.setting for system in fleet.systems},
        machine=machine.describe(PACKAGES),
        left_out=fleet.left_out,
        profile=fleet.profile if "no-op" in names and "no-op" not in fleet.left_out else None,
        rounds=rounds,
        seconds=seconds,
        command=shlex.join(["benchmarks/run", "serving", *sys.argv[1:]]),
    )
    _write(page, output)
    click.echo(page.markdown())


def _write(page: Page, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    (output / "serving.md").write_text(page.markdown(), encoding="utf-8")
    (output / "serving.json").write_text(_json(page), encoding="utf-8")
    try:
        plot = import_module("benchmarks.serving.plot")
    except ImportError as error:
        click.echo(f"no plot: {error}", err=True)
        return
    plot.draw(output / "serving.svg", page.results)


def _json(page: Page) -> str:
    """One line a cell: small, and a change shows in a diff."""
    head = {"command": page.command, "machine": page.machine, "left_out": page.left_out}
    lines = [f'"{name}": {json.dumps(value)}' for name, value in head.items()]
    cells = ",\n".join(json.dumps(cell, ensure_ascii=False) for cell in page.results.as_json())
    return "{\n" + ",\n".join([*lines, f'"cells": [\n{cells}\n]']) + "\n}\n"


def _tell(line: str) -> None:
    click.echo(line, err=True)


if __name__ == "__main__":
    main()
