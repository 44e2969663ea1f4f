"""The FAQ benchmark: benchmarks/run faq [FAQ.csv…]          (docs/benchmarks.md)

Each FAQ is trained by the README's command, then asked: known questions in the wordings of wordings.py,
paraphrases and foreign questions of FAQ.questions.jsonl, written before any training. Writes faq.md, with
every reply to a paraphrase and to a foreign question.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.faq.tf_idf import TfIdf
from benchmarks.faq.wordings import WORDINGS
from benchmarks.machine import as_markdown, describe
from benchmarks.markdown import table
from train.answers import Answer, Question, ask, questions_of
from train.corpus import read_documents
from train.remote import open_checkpoint

FOLDER = Path(__file__).parent
ASKED = 20  # known questions, drawn by the seed
SEED = 0


@dataclass(frozen=True)
class Faq:
    """Pairs, and questions that are not among them."""

    path: Path
    pairs: list[Question]
    paraphrases: list[Question]
    foreign: list[Question]

    @classmethod
    def read(cls, path: Path) -> Faq:
        """Read FAQ.csv and FAQ.questions.jsonl."""
        lines = path.with_suffix(".questions.jsonl").read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines if line.strip()]
        asked = [
            (record["kind"], Question((), record["question"], record.get("answer"))) for record in records
        ]
        return cls(
            path,
            list(questions_of(read_documents([str(path)]))),
            [question for kind, question in asked if kind == "paraphrase"],
            [question for kind, question in asked if kind == "foreign"],
        )


@dataclass(frozen=True)
class Result:
    """What one training brought: answers by wording, to paraphrases (and the baseline's) and foreign ones."""

    faq: Faq
    seconds: float
    known: dict[str, list[Answer]]
    paraphrases: list[Answer]
    nearest: list[Answer]
    foreign: list[Answer]


@click.command(help=__doc__)
@click.argument("faqs", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), default=Path("docs/benchmarks"), show_default=True)
def main(faqs: tuple[Path, ...], output: Path) -> None:
    """Train, ask and write the page."""
    results = [measure(Faq.read(path)) for path in faqs or sorted(FOLDER.glob("*.csv"))]
    page = "\n".join(_page(results))
    output.mkdir(parents=True, exist_ok=True)
    (output / "faq.md").write_text(page, encoding="utf-8")
    click.echo(page)


def measure(faq: Faq) -> Result:
    """Train on a FAQ as its user would, and ask."""
    with tempfile.TemporaryDirectory(prefix="neuroq-faq-") as folder:
        checkpoint = Path(folder) / "faq.pt"
        command = [sys.executable, "-m", "train", str(faq.path), "--checkpoint_path", str(checkpoint)]
        began = time.monotonic()
        subprocess.run(command, check=True)
        seconds = time.monotonic() - began
        opened = open_checkpoint(str(checkpoint))
    network = opened.checkpoint.build().freeze()
    drawn = random.Random(SEED).sample(faq.pairs, ASKED)
    known = {
        name: ask(network, opened.tokenizer, [Question((), change(q.text), q.wanted) for q in drawn])
        for name, change in WORDINGS.items()
    }
    index = TfIdf([question.text for question in faq.pairs])
    nearest = [Answer(q, faq.pairs[index.nearest(q.text)].wanted or "") for q in faq.paraphrases]
    paraphrases, foreign = (ask(network, opened.tokenizer, part) for part in (faq.paraphrases, faq.foreign))
    return Result(faq, seconds, known, paraphrases, nearest, foreign)


def _page(results: list[Result]) -> list[str]:
    lines = [
        "# A FAQ of one's own",
        "",
        "Each trained by `./neuroq train FAQ.csv`, as it stands in `benchmarks/faq/`; greedy replies, a new",
        "conversation each. [How it is measured](../benchmarks.md).",
        "",
        *table(["", *(f"{r.faq.path.name}, {len(r.faq.pairs)} pairs" for r in results)], _rows(results)),
        "",
    ]
    for result in results:
        lines += _replies(f"{result.faq.path.name}: paraphrases", result.paraphrases)
        lines += _replies(f"{result.faq.path.name}: foreign questions", result.foreign)
    return [*lines, *as_markdown(describe(["torch", "sentencepiece"])), ""]


def _rows(results: list[Result]) -> list[list[str]]:
    rows = [["seconds, the whole command", *(f"{result.seconds:.0f}" for result in results)]]
    for name in WORDINGS:
        row = (f"{_count(r.known[name], 'is_exact')} of {len(r.known[name])}" for r in results)
        rows.append([f"known questions answered exactly: {name}", *row])
    every = {"is_fitting": "paraphrases, fitting", "nearest": "the same, TF-IDF over pairs of characters"}
    rows.append([every["is_fitting"], *(_of(r.paraphrases, "is_fitting") for r in results)])
    rows.append([every["nearest"], *(_of(r.nearest, "is_fitting") for r in results)])
    rows.append(["foreign questions refused", *(_of(r.foreign, "is_refused") for r in results)])
    rows.append(["known questions refused", *(_of(r.known["as it stands"], "is_refused") for r in results)])
    rows.append(["replies with a broken character", *(str(_broken(result)) for result in results)])
    return rows


def _replies(title: str, answers: list[Answer]) -> list[str]:
    rows = [[a.question.text, a.reply, "✓" if a.is_right else "✗"] for a in answers]
    return [f"## {title}", "", *table(["question", "reply", ""], rows), ""]


def _of(answers: list[Answer], what: str) -> str:
    return f"{_count(answers, what)} of {len(answers)}"


def _count(answers: list[Answer], what: str) -> int:
    return sum(getattr(answer, what) for answer in answers)


def _broken(result: Result) -> int:
    every = [*(a for part in result.known.values() for a in part), *result.paraphrases, *result.foreign]
    return sum("\ufffd" in answer.reply for answer in every)


if __name__ == "__main__":
    main()
