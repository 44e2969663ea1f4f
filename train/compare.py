"""Measure checkpoints on text that none of them was trained on: python -m train.compare CHECKPOINT….

A document that one of them has seen would flatter it. Each checkpoint tells what it was trained on and what
was held out; the texts are read again, and must not have changed since.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from model.checkpoint import Checkpoint, CheckpointError
from model.tokenizer import TokenizerError
from train import interruption
from train.answers import AnswerScore
from train.arguments import TrainingArguments
from train.corpus import BUILT_IN, STANDARD_INPUT, CorpusError, Document, fingerprint, read_documents, split
from train.evaluate import evaluate, evaluate_answers, questions_in
from train.remote import open_checkpoint


def held_out(checkpoints: Iterable[Checkpoint]) -> list[Document]:
    """Return what at least one training held out and none was trained on. Raises CorpusError without any."""
    candidates: dict[bytes, Document] = {}
    seen: set[bytes] = set()
    for checkpoint in checkpoints:
        train, validation = _parts(checkpoint.lineage)
        candidates |= {document.digest: document for document in validation}
        seen |= {document.digest for document in train}
    unseen = [document for digest, document in candidates.items() if digest not in seen]
    if not unseen:
        raise CorpusError("no text was held out by the training of every checkpoint")
    return unseen


def _parts(lineage: dict[str, Any]) -> tuple[list[Document], list[Document]]:
    """Return the documents of a training as it parted them."""
    try:
        arguments = TrainingArguments.from_dict(lineage["arguments"])
        expected = lineage["data"]["fingerprint"]
    except (KeyError, TypeError, ValueError) as error:
        raise CorpusError("a checkpoint does not tell what it was trained on") from error
    if STANDARD_INPUT in arguments.texts:
        raise CorpusError("a checkpoint was trained on standard input, which cannot be read again")
    documents = read_documents(arguments.texts or (str(BUILT_IN),))
    if fingerprint(documents) != expected:
        sources = ", ".join(arguments.texts) or "the built-in corpus"
        raise CorpusError(f"{sources} has changed since a checkpoint was trained on it")
    return split(documents, arguments.validation_fraction)


@click.command(name="compare")
@click.argument("checkpoints", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--text", "texts", multiple=True, help="Compare on this text; nobody checks who has seen it.")
@click.option("--answers", multiple=True, help="Compare the replies to its questions, too.")
@click.option("--foreign", multiple=True, help="Questions that should be refused.")
def main(
    checkpoints: tuple[Path, ...], texts: tuple[str, ...], answers: tuple[str, ...], foreign: tuple[str, ...]
) -> None:
    """Print the bits per character of each of CHECKPOINTS as a JSON list, and how they answer.

    Without --text the text of --answers is compared on.
    """
    try:
        opened = [open_checkpoint(str(path)) for path in checkpoints]
        texts = texts or answers
        documents = read_documents(texts) if texts else held_out(each.checkpoint for each in opened)
        results = [evaluate(each, documents) for each in opened]
        questions = questions_in(answers, foreign)
        for each, result in zip(opened, results, strict=True):
            if questions:
                result["answers"] = asdict(AnswerScore.of(evaluate_answers(each, questions)))
    except (CheckpointError, TokenizerError, CorpusError) as error:
        hint = "" if texts else "; --text FILE names one to compare on"
        click.echo(f"compare: {error}{hint if isinstance(error, CorpusError) else ''}", err=True)
        sys.exit(1)
    click.echo(json.dumps(results, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    interruption.run(main)
