"""Train a model offline: python -m train [TEXTS]… (the built-in corpus when no text is given)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from train import interruption
from train.arguments import PRECISIONS, PRESETS, TrainingArguments

_HELP = {
    "epochs": "Passes over the text.",
    "minutes": "Wall time after which the run ends, its schedule fitted to it; 0: only the epochs count.",
    "tied": "Use the token embedding as the output head, too.",
    "batch_size": "Windows a step, over all processes together.",
    "gradient_accumulation_steps": "Batches a step: their gradients add up, their memory does not.",
    "num_steps": "Time steps of a QBNN layer.",
    "attention_blend": "Share of its QBNN layer that attention adds to queries and keys.",
    "lr": "Highest learning rate (AdamW: embeddings, head, vectors).",
    "optimizer": "muon for the inner matrices and AdamW for the rest, or adamw for all.",
    "matrix_lr": "Highest learning rate of the inner matrices (Muon).",
    "join": "Share of the dialogues that are joined to longer conversations, anew in each epoch.",
    "vary": "Put users' turns in other words: preambles, politeness, question marks.",
    "refuse": "With --rehearsal: what questions of the text do not answer is refused.",
    "copies": "Variants of each document in an epoch, with --vary; more where --rehearsal needs them.",
    "rehearsal": "Share of the training text that is built-in dialogues, which a model must not forget.",
    "seq_length": "Tokens a window; also the context that the trained model can use.",
    "checkpoint_path": "Where the checkpoint goes, the tokenizer beside it; s3:// and gs://, too.",
    "tokenizer_path": "Use this tokenizer instead of training one.",
    "init_from": "Start from a checkpoint's weights, tokenizer and shape: a path, s3://, gs://, or builtin.",
    "vocab_size": "Symbols of the tokenizer, fewer when the text cannot carry them.",
    "validation_fraction": "Share of the documents that is held out.",
    "precision": "|".join(PRECISIONS) + "; auto takes bf16 where the processor has it.",
    "processes": "Processes of one thread each (CPU); torchrun sets it.",
    "seed": "The same seed, text and arguments give the same weights.",
    "word_dropout": "Share of the words in users' turns that are blanked.",
    "warmup": "Share of the run in which the learning rate rises.",
    "patience": "End after so many epochs without a better model, and keep the best; 0: never.",
}


def _options(command: Callable[..., None]) -> Callable[..., None]:
    """Add an option for each training argument, spelt with underscores (the seed's names) or dashes."""
    for field in reversed(fields(TrainingArguments)):
        if field.name == "texts":
            continue
        kind = str if field.default is None else type(field.default)
        names = sorted({f"--{field.name}", f"--{field.name.replace('_', '-')}"}, reverse=True)
        command = click.option(
            *names,
            field.name,
            type=kind,
            default=field.default,
            show_default=True,
            help=_HELP.get(field.name),
        )(command)
    return command


@click.command(name="train")
@click.argument("texts", nargs=-1)
@click.option("--texts", "more_texts", multiple=True, help="The same as TEXTS; may be repeated.")
@click.option(
    "--preset", type=click.Choice(sorted(PRESETS)), help="Default: seed; tune for a small text of your own."
)
@click.option("--resume", "resuming", is_flag=True, help="Go on with this checkpoint's run, or begin it.")
@click.option("--report", type=bool, default=True, show_default=True, help="Write a report at the end.")
@click.option(
    "--progress_file", "--progress-file", type=Path, help="Keep share, epoch and loss here, as JSON."
)
@click.option("--dry_run", "--dry-run", is_flag=True, help="Show what would be learned, and end.")
@_options
@click.pass_context
def main(
    context: click.Context,
    /,
    texts: tuple[str, ...],
    more_texts: tuple[str, ...],
    preset: str | None,
    resuming: bool,
    report: bool,
    progress_file: Path | None,
    dry_run: bool,
    **values: Any,
) -> None:
    """Train on TEXTS: .txt, .jsonl, .json, .csv, .tsv (also .gz, .zst), .parquet, .arrow, folders of them,
    hf://datasets/OWNER/NAME, or - for standard input.

    Without TEXTS the built-in corpus is used. Writes a checkpoint and its tokenizer; Ctrl-C saves and ends.
    """
    if dry_run:
        from train.preview import preview  # noqa: PLC0415 - not needed otherwise

        sys.exit(preview((*texts, *more_texts), _say))
    with interruption.importing():
        from train import command  # noqa: PLC0415 - takes two seconds, and nothing before it needs it

    given = {
        name: value
        for name, value in values.items()
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT
    }
    if texts or more_texts:
        given["texts"] = (*texts, *more_texts)
    status = command.run(
        given,
        preset,
        _say,
        resuming=resuming,
        with_report=report,
        progress_path=progress_file,
    )
    sys.exit(status)


def _say(message: str) -> None:
    click.echo(message, err=True)


if __name__ == "__main__":
    interruption.run(main)
