"""Uploads: each object whole or not at all, with its SHA-256 in its metadata and in an object beside it."""

from pathlib import Path

from storage.bucket import Bucket
from storage.digest import file_digest
from storage.errors import MissingError
from storage.location import Location


def upload(path: Path, location: Location) -> None:
    """Replace an object by a file. Raises StorageError.

    The digest in the metadata changes with the object; the one beside it, in the form of `sha256sum`, is for
    other tools, and for stores that keep no metadata.
    """
    bucket = Bucket(location)
    digest = file_digest(path)
    bucket.write(location, path, {"sha256": digest})
    bucket.write(location.with_suffix(".sha256"), f"{digest}  {location.name}\n".encode(), {})


def require_access(location: Location) -> None:
    """Raise StorageError when the store cannot be reached; that there is no object yet is no fault."""
    try:
        Bucket(location).stat(location)
    except MissingError:
        return
