"""Measure a checkpoint on text: python -m train.evaluate TEXT… [--checkpoint_path PATH]."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
import torch

from model.checkpoint import Checkpoint, CheckpointError, file_sha256
from model.tokenizer import Tokenizer, TokenizerError
from storage.errors import StorageError
from train import interruption
from train.arguments import DEFAULT_CHECKPOINT_PATH
from train.corpus import CorpusError, Document, read_documents
from train.encoded import EncodedDocument
from train.place import default_at_home
from train.remote import checkpoint_files
from train.score import score


def evaluate(checkpoint_path: Path, tokenizer_file: Path, texts: tuple[str, ...]) -> dict[str, object]:
    """Return the score of a checkpoint on text files, folders or `-`, as a plain dictionary."""
    return evaluate_documents(checkpoint_path, tokenizer_file, read_documents(texts))


def evaluate_documents(
    checkpoint_path: Path, tokenizer_file: Path, documents: list[Document]
) -> dict[str, object]:
    """Return the score of a checkpoint on documents, as a plain dictionary."""
    checkpoint = Checkpoint.load(checkpoint_path)
    tokenizer = Tokenizer.load(tokenizer_file)
    checkpoint.check_tokenizer(tokenizer)
    model = checkpoint.build().to("cuda" if torch.cuda.is_available() else "cpu")
    result = score(model, (EncodedDocument.of(document, tokenizer) for document in documents))
    return {
        "bits_per_char": round(result.bits_per_char, 4),
        "characters": result.num_characters,
        "tokens": result.num_tokens,
        "documents": len(documents),
        "context_length": checkpoint.config.context_length,
        "checkpoint_path": str(checkpoint_path),
        "checkpoint_sha256": file_sha256(checkpoint_path),
    }


@click.command(name="evaluate")
@click.argument("texts", nargs=-1, required=True)
@click.option(
    "--checkpoint_path",
    "--checkpoint-path",
    default=DEFAULT_CHECKPOINT_PATH,
    show_default=True,
    callback=default_at_home,
)
@click.option(
    "--tokenizer_path", "--tokenizer-path", "tokenizer_file", help="Default: beside the checkpoint."
)
def main(texts: tuple[str, ...], checkpoint_path: str, tokenizer_file: str | None) -> None:
    """Print the bits per character of a checkpoint on TEXTS as JSON.

    TEXTS are .txt or .jsonl files, folders of them, or - for standard input.
    """
    try:
        result = evaluate(*checkpoint_files(checkpoint_path, tokenizer_file), texts)
    except (CheckpointError, TokenizerError, CorpusError, StorageError, ValueError) as error:
        click.echo(f"evaluate: {error}", err=True)
        sys.exit(1)
    is_utf8 = sys.stdout.encoding.lower() == "utf-8"
    click.echo(json.dumps(result, ensure_ascii=not is_utf8, indent=1))


if __name__ == "__main__":
    interruption.run(main)
