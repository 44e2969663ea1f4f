"""Train a model offline: python -m train [TEXTS]… (the built-in corpus when no text is given)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from model.checkpoint import CheckpointError
from model.tokenizer import TokenizerError
from storage.errors import StorageError
from storage.upload import require_access
from train.arguments import DEFAULT_CHECKPOINT_PATH, PRECISIONS, PRESETS, TrainingArguments
from train.corpus import CorpusError
from train.loop import TrainingError
from train.recorder import Outcome
from train.remote import object_of, training_path, upload_checkpoint
from train.run import resume, start
from train.state import TrainingState, state_path

_HELP = {
    "epochs": "Passes over the text.",
    "minutes": "Wall time after which the run ends, its schedule fitted to it; 0: only the epochs count.",
    "tied": "Use the token embedding as the output head, too.",
    "batch_size": "Windows a step.",
    "lr": "Highest learning rate (AdamW: embeddings, head, vectors).",
    "matrix_lr": "Highest learning rate of the inner matrices (Muon).",
    "join": "Share of the dialogues that are joined to longer conversations, anew in each epoch.",
    "seq_length": "Tokens a window; also the context that the trained model can use.",
    "checkpoint_path": "Where the checkpoint goes, the tokenizer beside it; s3:// and gs://, too.",
    "tokenizer_path": "Use this tokenizer instead of training one.",
    "vocab_size": "Symbols of the tokenizer, fewer when the text cannot carry them.",
    "validation_fraction": "Share of the documents that is held out.",
    "precision": "|".join(PRECISIONS) + "; auto takes bf16 where the processor has it.",
    "processes": "Processes of one thread each (CPU).",
    "seed": "The same seed, text and arguments give the same weights.",
    "word_dropout": "Share of the words in users' turns that are blanked.",
    "warmup": "Share of the run in which the learning rate rises.",
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
@click.option("--preset", type=click.Choice(sorted(PRESETS)), default="seed", show_default=True)
@click.option("--resume", "resuming", is_flag=True, help="Go on with the interrupted run of this checkpoint.")
@click.option("--report", type=bool, default=True, show_default=True, help="Write a report at the end.")
@_options
@click.pass_context
def main(
    context: click.Context,
    /,
    texts: tuple[str, ...],
    more_texts: tuple[str, ...],
    preset: str,
    resuming: bool,
    report: bool,
    **values: Any,
) -> None:
    """Train on TEXTS: .txt or .jsonl files, folders of them, or - for standard input.

    Without TEXTS the built-in corpus is used. Writes a checkpoint and its tokenizer; Ctrl-C saves and ends.
    """
    given = {
        name: value
        for name, value in values.items()
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT
    }
    if texts or more_texts:
        given["texts"] = (*texts, *more_texts)
    try:
        outcome = _train(given, preset, resuming=resuming, with_report=report)
    except (CheckpointError, TokenizerError, CorpusError, TrainingError, StorageError, ValueError) as error:
        click.echo(f"train: {error}", err=True)
        sys.exit(1)
    except OSError as error:
        click.echo(f"train: {error.filename or ''}: {error.strerror or error}", err=True)
        sys.exit(1)
    sys.exit(0 if outcome.finished else 130)


def _train(given: dict[str, Any], preset: str, *, resuming: bool, with_report: bool) -> Outcome:
    """Train at a path of this machine; what is meant for an object store is uploaded at the end."""
    location = object_of(given.get("checkpoint_path", DEFAULT_CHECKPOINT_PATH))
    if location:
        require_access(location)  # now, not after hours of training
        given = {**given, "checkpoint_path": str(training_path(location))}
    if resuming:
        state = _interrupted_run(Path(given.get("checkpoint_path", DEFAULT_CHECKPOINT_PATH)), given)
        outcome = resume(state, _say, with_report=with_report)
    else:
        outcome = start(TrainingArguments(**{**PRESETS[preset], **given}), _say, with_report=with_report)
    if location and outcome.finished:
        upload_checkpoint(outcome.checkpoint_path, location)
        _say(f"uploaded to {location}")
    return outcome


def _interrupted_run(checkpoint_path: Path, given: dict[str, Any]) -> TrainingState:
    """Return the state to resume; an argument that is given must be the one that the run began with."""
    state = TrainingState.load(state_path(checkpoint_path))
    for name, value in given.items():
        begun_with = getattr(state.arguments, name)
        if value != begun_with:
            raise ValueError(f"the run began with {name} {begun_with!r}, it cannot be resumed with {value!r}")
    return state


def _say(message: str) -> None:
    click.echo(message, err=True)


if __name__ == "__main__":
    main()
