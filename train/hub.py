"""Texts of the Hugging Face hub: hf://datasets/OWNER/NAME, or a folder or file of it, fetched once a run."""

from __future__ import annotations

from functools import cache
from pathlib import Path, PurePosixPath

from storage.errors import StorageError
from storage.hub import HubPlace, fetch_hub, is_hub, list_hub, parse_hub
from train.document import CorpusError
from train.folder import KINDS, is_text_name, of_train

__all__ = ["hub_files", "is_hub"]


@cache
def hub_files(source: str) -> tuple[Path, ...]:
    """Return where copies of a dataset's files lie, of one in splits those of train. Raises CorpusError."""
    try:
        place = parse_hub(source)
    except ValueError as error:
        raise CorpusError(f"{source!r} {error}") from error
    try:
        return tuple(fetch_hub(place, path) for path in _texts(place))
    except StorageError as error:
        raise CorpusError(str(error)) from error


def _texts(place: HubPlace) -> list[str]:
    """Return the files to read: the one that is named, or what would be read of a folder like this."""
    files = list_hub(place)
    if place.path in files:
        return [place.path]
    folder = PurePosixPath(place.path)
    paths = [path for path in map(PurePosixPath, files) if path.is_relative_to(folder) and is_text_name(path)]
    if not paths:
        raise CorpusError(f"{place.url}: there is no {', '.join(KINDS[:-1])} or {KINDS[-1]} file in it")
    return [str(path) for path in of_train(paths, folder)]
