"""What the command line asks for: a new run or an interrupted one, and every failure in one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from model.checkpoint import CheckpointError
from model.tokenizer import TokenizerError
from storage.errors import StorageError
from storage.upload import require_access
from train import torchrun
from train.arguments import DEFAULT_CHECKPOINT_PATH, TrainingArguments
from train.corpus import CorpusError
from train.interruption import INTERRUPTED
from train.loop import TrainingError
from train.parent import Parent
from train.place import home, require_place
from train.processes import GroupError
from train.recipe import choose_preset
from train.remote import object_of, training_path, upload_checkpoint
from train.resume import interrupted_run, longer_run
from train.run import follow, resume, start
from train.state import TrainingState

_FAILURES = (
    CheckpointError,
    TokenizerError,
    CorpusError,
    TrainingError,
    GroupError,
    StorageError,
    ValueError,
)


def run(
    given: Mapping[str, Any],
    preset: str | None,
    say: Callable[[str], None],
    *,
    resuming: bool,
    with_report: bool,
    progress_path: Path | None = None,
) -> int:
    """Train with the arguments that were `given`, or go on with their run; return the exit status.

    What is meant for an object store trains at a path of this machine and is uploaded at the end.
    `progress_path` is a file that is kept up to date for programs.
    """
    try:
        if torchrun.rank() > 0:
            torchrun.leave(follow())
        location = object_of(given.get("checkpoint_path", DEFAULT_CHECKPOINT_PATH))
        if location:
            require_access(location)  # now, not after hours of training
            given = {**given, "checkpoint_path": str(training_path(location))}
        place = given.get("checkpoint_path", home(DEFAULT_CHECKPOINT_PATH))
        require_place(place)
        path = Path(place)
        state = _resumed(path, given, say) if resuming else None
        if state:
            outcome = resume(state, say, with_report=with_report, progress_path=progress_path)
        elif not (resuming and path.exists()):
            beginning = _begun({**given, "checkpoint_path": place}, preset, say)
            outcome = start(*beginning, say, with_report=with_report, progress_path=progress_path)
        else:
            outcome = None
            say(f"{path}: the run has finished, there is nothing to go on with")
        if outcome and not outcome.finished:
            return INTERRUPTED
        if location:
            upload_checkpoint(path, location)
            say(f"uploaded to {location}")
    except _FAILURES as error:
        say(f"train: {error}")
        return 1
    except OSError as error:
        say(f"train: {error.filename or ''}: {error.strerror or error}")
        return 1
    return 0


def _begun(
    given: Mapping[str, Any], preset: str | None, say: Callable[[str], None]
) -> tuple[TrainingArguments, Parent | None]:
    """Return the arguments of a new run, and the checkpoint that it starts from."""
    wanted = {**choose_preset(preset, given, say), **given}
    parent = Parent.open(wanted["init_from"]) if wanted.get("init_from") else None
    return TrainingArguments(**{**wanted, **(parent.arguments(given) if parent else {})}), parent


def _resumed(path: Path, given: Mapping[str, Any], say: Callable[[str], None]) -> TrainingState | None:
    """Return the state of the run to go on with, None when it has finished or has not saved any yet."""
    state = interrupted_run(path, given)
    if state is None and path.exists():
        state = longer_run(path, given)
        if state:
            say(
                f"{path}: the run had finished after {state.epoch} epochs and goes on to "
                f"{state.arguments.epochs}, with a schedule and an optimiser that begin anew"
            )
    elif state is None:
        say(f"{path}: no run has been saved yet, it begins now")
    return state
