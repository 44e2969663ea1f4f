"""Checkpoints in an object store: fetched to be read, and where a run for one trains until it is uploaded."""

from __future__ import annotations

from pathlib import Path

from model.checkpoint import TOKENIZER_NAME, tokenizer_path
from storage.cache import local_path
from storage.location import Location, beside, is_remote, parse_object
from storage.upload import upload
from train.place import home


def checkpoint_files(checkpoint_path: str, tokenizer: str | None) -> tuple[Path, Path]:
    """Return local paths of a checkpoint and its tokenizer, which lies beside it unless it is named.

    Raises StorageError, and ValueError for a bad URL.
    """
    places = {
        "checkpoint_path": checkpoint_path,
        "tokenizer_path": tokenizer or beside(checkpoint_path, TOKENIZER_NAME),
    }
    checkpoint, tokenizer_file = (_local(name, place) for name, place in places.items())
    return checkpoint, tokenizer_file


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
    """Upload the tokenizer, then the checkpoint, which says what tokenizer it needs. Raises StorageError."""
    upload(tokenizer_path(checkpoint), parse_object(beside(str(location), TOKENIZER_NAME)))
    upload(checkpoint, location)


def _local(name: str, place: str) -> Path:
    try:
        return local_path(place)
    except ValueError as error:
        raise ValueError(f"{name} {error}, got {place!r}") from error
