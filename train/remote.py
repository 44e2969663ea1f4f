"""Checkpoints in an object store: fetched to be read, and where a run for one trains until it is uploaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from model.checkpoint import CHECKPOINT_NAME, TOKENIZER_NAME, Checkpoint, tokenizer_path
from model.tokenizer import Tokenizer
from storage.cache import local_path
from storage.location import Location, beside, is_remote, parse_object
from storage.upload import upload
from train.place import home

BUILT_IN = "builtin"  # the name of the checkpoint that NeuroQ ships, on the command line
BUILT_IN_MODEL = Path(__file__).resolve().parent.parent / "pretrained" / "neuroq.pt"


@dataclass(frozen=True)
class OpenedCheckpoint:
    """A checkpoint that was read, the local file that it was read from, and its tokenizer."""

    path: Path
    checkpoint: Checkpoint
    tokenizer: Tokenizer


def open_checkpoint(place: str, tokenizer: str | None = None) -> OpenedCheckpoint:
    """Read a checkpoint of this machine or of an object store, or `builtin`; and its tokenizer.

    The tokenizer is the one that is named, else the one in the checkpoint; beside it in an older format.
    Raises CheckpointError, TokenizerError, StorageError, and ValueError for a bad URL.
    """
    path = BUILT_IN_MODEL if place == BUILT_IN else _local("checkpoint_path", place)
    checkpoint = Checkpoint.load(path)
    if not tokenizer and not checkpoint.tokenizer_model:
        tokenizer = beside(place, TOKENIZER_NAME)
    file = _local("tokenizer_path", tokenizer) if tokenizer else None
    return OpenedCheckpoint(path, checkpoint, checkpoint.open_tokenizer(file))


def object_of(checkpoint_path: str) -> Location | None:
    """Return the object that a checkpoint path names, None for a path. Raises ValueError for a bad URL."""
    try:
        return parse_object(checkpoint_path) if is_remote(checkpoint_path) else None
    except ValueError as error:
        raise ValueError(f"checkpoint_path {error}, got {checkpoint_path!r}") from error


def training_path(location: Location) -> Path:
    """Return where a run trains whose checkpoint goes to an object; its state for --resume stays there."""
    return Path(home("checkpoints")) / location.scheme / location.bucket / location.key


def upload_checkpoint(checkpoint: Path, location: Location) -> None:
    """Upload a checkpoint, before it the tokenizer that lies beside the seed's name. Raises StorageError."""
    if location.name == CHECKPOINT_NAME:
        upload(tokenizer_path(checkpoint), parse_object(beside(str(location), TOKENIZER_NAME)))
    upload(checkpoint, location)


def _local(name: str, place: str) -> Path:
    try:
        return local_path(place)
    except ValueError as error:
        raise ValueError(f"{name} {error}, got {place!r}") from error
