"""What `--resume` goes on with: an interrupted run, or a finished one that is given more epochs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from model.checkpoint import Checkpoint, CheckpointError
from train.arguments import TrainingArguments
from train.corpus import BUILT_IN, Corpus, fingerprint
from train.early_stopping import EarlyStopping
from train.history import History
from train.place import same_place, typed
from train.remote import open_checkpoint
from train.state import TrainingState, state_path

# The state lies beside the checkpoint, wherever that was moved; a text is compared by what it holds.
_MAY_MOVE = ("checkpoint_path", "texts")
_PLACES = ("tokenizer_path",)


def interrupted_run(path: Path, given: Mapping[str, Any]) -> TrainingState | None:
    """Return the state of a run that has not ended, None without one. Raises ValueError, CheckpointError."""
    if not state_path(path).exists():
        return None
    state = TrainingState.load(state_path(path))
    if given.get("epochs", 0) > state.arguments.epochs:
        raise ValueError(
            f"the run began with epochs {state.arguments.epochs}, it cannot be resumed with "
            f"{given['epochs']} before it has ended"
        )
    _check_the_same(state.arguments, given)
    return replace(state, arguments=_moved(state.arguments, path, given))


def longer_run(path: Path, given: Mapping[str, Any]) -> TrainingState | None:
    """Return where a finished run goes on that is given more epochs, None when it is given no more.

    It has the weights that the run ended with. The optimiser and the schedule begin anew, since a finished
    run leaves neither. Raises ValueError for other arguments or text, CheckpointError when none has finished.
    """
    checkpoint = Checkpoint.load(path)
    lineage = checkpoint.lineage
    if not lineage.get("is_finished"):
        raise CheckpointError(f"there is no run to resume: {state_path(path)} does not exist")
    begun_with = TrainingArguments.from_dict(lineage["arguments"])
    epochs = given.get("epochs", begun_with.epochs)
    _check_the_same(begun_with, {**given, "epochs": min(epochs, begun_with.epochs)})
    arguments = replace(_moved(begun_with, path, given), epochs=max(epochs, begun_with.epochs))
    if epochs <= begun_with.epochs:
        _check_text(begun_with, arguments, lineage["data"]["fingerprint"])
        return None
    tokenizer = open_checkpoint(str(path)).tokenizer
    epoch = int(lineage["epochs_done"])
    return TrainingState(
        arguments=arguments,
        config=checkpoint.config,
        origin=lineage.get("init_from"),
        data_fingerprint=lineage["data"]["fingerprint"],
        tokenizer_model=tokenizer.model_bytes,
        epoch=epoch,
        batch=0,
        weights=checkpoint.weights,
        optimizer={},
        seconds=0.0,
        first_step=0.0,
        history=History(),
        metrics=lineage["metrics"],
        early_stopping=EarlyStopping(arguments.patience).state_dict(),
        first_epoch=epoch,
    )


def _check_the_same(begun_with: TrainingArguments, given: Mapping[str, Any]) -> None:
    """Raise ValueError for an argument that is not the one that the run began with."""
    for name, value in given.items():
        before = getattr(begun_with, name)
        is_same = same_place(value, before) if name in _PLACES else value == before
        if not is_same and name not in _MAY_MOVE:
            raise ValueError(f"the run began with {name} {before!r}, it cannot be resumed with {value!r}")


def _moved(begun_with: TrainingArguments, path: Path, given: Mapping[str, Any]) -> TrainingArguments:
    texts = given.get("texts", tuple(map(typed, begun_with.texts)))
    return replace(begun_with, checkpoint_path=str(path), texts=texts)


def _check_text(begun_with: TrainingArguments, moved: TrainingArguments, expected: str) -> None:
    """Raise ValueError when texts of other names hold another text; those of the same are not read."""
    if _absolute(moved.texts) == _absolute(begun_with.texts):
        return
    if fingerprint(Corpus(moved.texts or (str(BUILT_IN),))) != expected:
        before, now = (", ".join(each.texts) or "the built-in corpus" for each in (begun_with, moved))
        raise ValueError(f"the run began with texts {before}, it cannot be resumed with {now}: another text")


def _absolute(texts: tuple[str, ...]) -> list[Path]:
    return [Path(text).absolute() for text in texts]
