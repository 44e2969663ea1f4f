"""The quality benchmark: see docs/benchmarks.md.

    benchmarks/run quality DATA [OPTIONS] [-- TRAINING OPTIONS]

DATA is a folder with the development text. Each run is one command from raw text, tokenizer included, within
so many minutes. Writes quality.md.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.machine import as_markdown, describe
from benchmarks.markdown import table
from benchmarks.quality.parts import DIALOGUES, STORIES, Parts, write_parts

# What is demanded of a whole command of so many minutes.
JUDGED_MINUTES = 20
BOUND = 4.10  # bits per character
MAX_PARAMETERS = 3_300_000
# The command's end (the last scores and files) and its start are part of its minutes.
_RESERVE = 0.6  # minutes


@dataclass(frozen=True)
class Result:
    """What one training command brought."""

    minutes: float
    seed: int
    seconds: float
    tokens_per_second: int
    parameters: int
    bits_per_char: float
    dialogue: float
    stories: float

    @property
    def row(self) -> list[str]:
        """The result as a row of the table."""
        return [
            f"{self.minutes:g}",
            str(self.seed),
            f"{self.seconds:.0f}",
            f"{self.tokens_per_second:,}",
            f"{self.parameters:,}",
            f"{self.bits_per_char:.3f}",
            f"{self.dialogue:.3f}",
            f"{self.stories:.3f}",
        ]


@click.command(
    context_settings={"ignore_unknown_options": True},
    help="Bits per character after so many minutes of training from raw text.",
)
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("training_options", nargs=-1, type=click.UNPROCESSED)
@click.option("--minutes", "all_minutes", multiple=True, type=click.FloatRange(1), default=[20.0])
@click.option("--seed", "seeds", multiple=True, type=click.IntRange(0), default=[0], show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("docs/benchmarks"), show_default=True)
def main(
    data: Path,
    training_options: tuple[str, ...],
    all_minutes: tuple[float, ...],
    seeds: tuple[int, ...],
    output: Path,
) -> None:
    """Train, score and write the page."""
    results = []
    with tempfile.TemporaryDirectory(prefix="neuroq-quality-") as folder:
        parts = write_parts(data, Path(folder))
        for minutes in all_minutes:
            for seed in seeds:
                checkpoint = Path(folder) / f"{minutes:g}-{seed}" / "neuroq_checkpoint.pt"
                results.append(_run(parts, checkpoint, minutes, seed, training_options))
                click.echo(" ".join(results[-1].row), err=True)
    output.mkdir(parents=True, exist_ok=True)
    page = _page(results, shlex.join(["benchmarks/run", "quality", *sys.argv[1:]]))
    (output / "quality.md").write_text(page, encoding="utf-8")
    click.echo(page)
    judged = [each for each in results if each.minutes == JUDGED_MINUTES]
    sys.exit(any(each.bits_per_char > BOUND or each.parameters > MAX_PARAMETERS for each in judged))


def _run(
    parts: Parts, checkpoint: Path, minutes: float, seed: int, training_options: tuple[str, ...]
) -> Result:
    options = ["--minutes", f"{minutes - _RESERVE:g}", "--seed", str(seed), "--validation_fraction", "0"]
    command = ["train", str(parts.training), "--checkpoint_path", str(checkpoint), "--preset", "small"]
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", *command, *options, *training_options], check=True)
    seconds = time.monotonic() - began
    status = _describe(checkpoint)
    return Result(
        minutes=minutes,
        seed=seed,
        seconds=seconds,
        tokens_per_second=status["tokens_per_second"],
        parameters=status["parameters"],
        bits_per_char=_score(checkpoint, parts.validation),
        dialogue=_score(checkpoint, parts.validation / DIALOGUES),
        stories=_score(checkpoint, parts.validation / STORIES),
    )


def _score(checkpoint: Path, text: Path) -> float:
    command = [sys.executable, "-m", "train.evaluate", str(text), "--checkpoint_path", str(checkpoint)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout)["bits_per_char"])


def _describe(checkpoint: Path) -> dict[str, int]:
    from model.checkpoint import Checkpoint  # noqa: PLC0415  # torch: not while a run is timed

    loaded = Checkpoint.load(checkpoint)
    return {
        "parameters": loaded.build().num_parameters,
        "tokens_per_second": loaded.lineage["metrics"]["tokens_per_second"],
    }


def _page(results: list[Result], command: str) -> str:
    header = ["minutes", "seed", "seconds", "tokens/s", "parameters", "bits/char", "dialogue", "stories"]
    return "\n".join(
        [
            "# Quality",
            "",
            "Bits per character on held-out dialogues and stories after one training command from raw text,",
            "tokenizer included, on two processes.",
            f"At {JUDGED_MINUTES} minutes at most {BOUND:.2f} is demanded of at most",
            f"{MAX_PARAMETERS:,} parameters.",
            "[How it is measured](../benchmarks.md).",
            "",
            *table(header, [result.row for result in results]),
            "",
            f"- command: `{command}`",
            *as_markdown(describe(["torch", "sentencepiece"])),
            "",
        ]
    )


if __name__ == "__main__":
    main()
