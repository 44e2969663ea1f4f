"""The comparison of layers: see docs/experiments.md.

    benchmarks/run layers DATA [OPTIONS]

DATA is a folder with the development text. Every variant trains with every seed for the same processor time,
two at once, in an order drawn anew. Writes layers.md and layers.json.
"""

from __future__ import annotations

import json
import pickle
import random
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import click

from benchmarks.layers.variants import VARIANTS
from benchmarks.layers.worker import Result, Texts
from benchmarks.machine import as_markdown, describe
from benchmarks.markdown import RIGHT, table
from benchmarks.quality.parts import write_parts
from train.corpus import read_documents
from train.encoded import encode
from train.tokenizer import train_tokenizer

_AT_ONCE = 2


@click.command(help="Bits per character of variants of the network after the same time.")
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--variant", "names", multiple=True, type=click.Choice([*VARIANTS]), default=["neuroq", "gpt"])
@click.option("--seed", "seeds", multiple=True, type=click.IntRange(0), default=[0, 1, 2], show_default=True)
@click.option("--minutes", type=click.FloatRange(0.01), default=5.0, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("docs/benchmarks"), show_default=True)
def main(data: Path, names: tuple[str, ...], seeds: tuple[int, ...], minutes: float, output: Path) -> None:
    """Train, score and write the pages."""
    runs = [(name, seed) for name in names for seed in seeds]
    with tempfile.TemporaryDirectory(prefix="neuroq-layers-") as folder:
        texts = _write_texts(data, Path(folder))
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            tasks = [
                pool.submit(_run, name, seed, minutes, texts) for name, seed in random.sample(runs, len(runs))
            ]
            results = [task.result() for task in tasks]
    output.mkdir(parents=True, exist_ok=True)
    (output / "layers.json").write_text(json.dumps([asdict(each) for each in results], indent=1) + "\n")
    page = _page(names, results, minutes)
    (output / "layers.md").write_text(page, encoding="utf-8")
    click.echo(page)


def _write_texts(data: Path, folder: Path) -> Path:
    parts = write_parts(data, folder)
    documents, judging = (read_documents([str(part)]) for part in (parts.training, parts.validation))
    tokenizer = train_tokenizer(documents, 8000)
    texts = Texts(encode(documents, tokenizer), encode(judging, tokenizer), tokenizer.vocab_size)
    path = folder / "texts"
    path.write_bytes(pickle.dumps(texts))
    return path


def _run(name: str, seed: int, minutes: float, texts: Path) -> Result:
    command = [
        sys.executable,
        "-m",
        "benchmarks.layers.worker",
        name,
        str(seed),
        str(60 * minutes),
        str(texts),
    ]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result = Result(**json.loads(done.stdout))
    click.echo(f"{name}, seed {seed}: {result.bits_per_char:.3f}", err=True)
    return result


def _page(names: tuple[str, ...], results: list[Result], minutes: float) -> str:
    by_variant: dict[str, list[Result]] = defaultdict(list)
    for result in sorted(results, key=lambda each: each.seed):
        by_variant[result.variant].append(result)
    first = statistics.mean(each.bits_per_char for each in by_variant[names[0]])
    rows = []
    for name in names:
        scores = [each.bits_per_char for each in by_variant[name]]
        rows.append(
            [
                VARIANTS[name].title,
                f"{by_variant[name][0].parameters:,}",
                f"{statistics.mean(each.tokens for each in by_variant[name]) / 1e6:.2f}",
                " ".join(f"{score:.3f}" for score in scores),
                f"{statistics.mean(scores):.3f}",
                f"{100 * (statistics.mean(scores) / first - 1):+.2f} %",
            ]
        )
    header = ["network", "parameters", "million tokens", "bits/char of each seed", "mean", "over the first"]
    return "\n".join(
        [
            "# Layers",
            "",
            f"Bits per character on held-out dialogues and stories after {minutes:g} minutes of one",
            "processor each. [What it means](../experiments.md).",
            "",
            *table(header, rows, align=RIGHT),
            "",
            f"- command: `{shlex.join(['benchmarks/run', 'layers', *sys.argv[1:]])}`",
            *as_markdown(describe(["torch", "sentencepiece"])),
            "",
        ]
    )


if __name__ == "__main__":
    main()
