"""Measure a checkpoint on text, or by its answers: python -m train.evaluate TEXT… [--answers FILE]."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

import click
import torch

from model.checkpoint import CheckpointError, file_sha256
from model.tokenizer import TokenizerError
from storage.errors import StorageError
from train import interruption
from train.answers import Answer, AnswerScore, Question, ask, foreign_questions, questions_of
from train.corpus import CorpusError, Document, read_documents
from train.encoded import EncodedDocument
from train.place import checkpoint_option
from train.remote import OpenedCheckpoint, open_checkpoint
from train.score import score


def evaluate(opened: OpenedCheckpoint, documents: list[Document]) -> dict[str, object]:
    """Return the score of a checkpoint on documents, as a plain dictionary."""
    model = opened.checkpoint.build().to("cuda" if torch.cuda.is_available() else "cpu")
    result = score(model, (EncodedDocument.of(document, opened.tokenizer) for document in documents))
    return {
        "bits_per_char": round(result.bits_per_char, 4),
        "characters": result.num_characters,
        "tokens": result.num_tokens,
        "documents": len(documents),
        "context_length": opened.checkpoint.config.context_length,
        "checkpoint_path": str(opened.path),
        "checkpoint_sha256": file_sha256(opened.path),
    }


def questions_in(known: Sequence[str], foreign: Sequence[str]) -> list[Question]:
    """Return the questions of files: with the replies that are wanted, and those that should be refused.

    Raises CorpusError.
    """
    return [
        *(questions_of(read_documents(known)) if known else ()),
        *(foreign_questions(read_documents(foreign)) if foreign else ()),
    ]


def evaluate_answers(opened: OpenedCheckpoint, questions: Sequence[Question]) -> list[Answer]:
    """Return how a checkpoint answers questions."""
    return ask(opened.checkpoint.build().freeze(), opened.tokenizer, questions)


@click.command(name="evaluate")
@click.argument("texts", nargs=-1)
@click.option("--answers", multiple=True, metavar="FILE", help="Judge the replies to a file's questions.")
@click.option(
    "--foreign", multiple=True, metavar="FILE", help="Questions that should be refused, one a line."
)
@checkpoint_option
@click.option(
    "--tokenizer_path", "--tokenizer-path", "tokenizer_file", help="Default: the one in the checkpoint."
)
def main(
    texts: tuple[str, ...],
    answers: tuple[str, ...],
    foreign: tuple[str, ...],
    checkpoint_path: str,
    tokenizer_file: str | None,
) -> None:
    """Print the bits per character of a checkpoint on TEXTS as JSON, and how it answers.

    TEXTS and FILE are whatever can be trained on. With --answers the model's replies are compared with those
    of a file: exact, fitting, refused. Replies that are not right go to standard error.
    """
    if not (texts or answers or foreign):
        raise click.UsageError("give TEXTS, --answers FILE or --foreign FILE")
    result: dict[str, object] = {}
    try:
        opened = open_checkpoint(checkpoint_path, tokenizer_file)
        if texts:
            result |= evaluate(opened, read_documents(texts))
        if answers or foreign:
            replies = evaluate_answers(opened, questions_in(answers, foreign))
            for answer in replies:
                if not answer.is_right:
                    _show(answer)
            result["answers"] = asdict(AnswerScore.of(replies))
    except (CheckpointError, TokenizerError, CorpusError, StorageError, ValueError) as error:
        click.echo(f"evaluate: {error}", err=True)
        sys.exit(1)
    is_utf8 = sys.stdout.encoding.lower() == "utf-8"
    click.echo(json.dumps(result, ensure_ascii=not is_utf8, indent=1))


def _show(answer: Answer) -> None:
    wanted = answer.question.wanted or "(a refusal)"
    click.echo(f"{answer.question.text} → {answer.reply} [wanted: {wanted}]", err=True)


if __name__ == "__main__":
    interruption.run(main)
