"""The folder that TorchServe gets when the archives are elsewhere: one archive, or a store in S3 or GCS.

A remote store is like a local one: neuroq.mar, or releases.json and the archives that it names. An archive is
uploaded before the releases.json that names it, so whoever starts finds one whole state or the other.
"""

import os
import shutil
from pathlib import Path

from server.archive import require_archive
from server.errors import ServerError
from server.releases import Releases, read_releases, releases_path
from server.settings import Settings
from storage.cache import default_cache, local_path
from storage.errors import MissingError
from storage.location import Location, parse_folder
from storage.upload import upload


def fetch_archives(settings: Settings) -> None:
    """Bring what a start loads into the mirror; does nothing for a folder of this machine.

    Raises ServerError or StorageError, one line: then what is in the mirror is not to be served.
    """
    if settings.archive_path:
        releases_path(settings.model_store).unlink(missing_ok=True)
        _place(settings.archive_path, local_path(settings.archive_path), settings.archive)
    elif settings.remote_store:
        fetch_store(settings)


def fetch_store(settings: Settings) -> None:
    """Bring the mirror of a remote store up to date; does nothing for another one."""
    if not settings.remote_store:
        return
    store = parse_folder(settings.remote_store)
    try:
        _fetch(store, releases_path(settings.model_store))
    except MissingError:
        releases_path(settings.model_store).unlink(missing_ok=True)
        _fetch_first(store, settings.archive)
        return
    releases = read_releases(settings.model_store)
    assert releases is not None
    _fetch(store, settings.model_store / releases.current.archive)
    if releases.previous:
        try:
            _fetch(store, settings.model_store / releases.previous.archive)
        except MissingError:  # it may be deleted: then there is nothing to go back to
            (settings.model_store / releases.previous.archive).unlink(missing_ok=True)


def upload_archives(settings: Settings, releases: Releases) -> None:
    """Put the archives of these releases into the remote store, if there is one."""
    for release in (releases.current, releases.previous):
        if settings.remote_store and release:
            _upload(settings, settings.model_store / release.archive)


def upload_releases(settings: Settings) -> None:
    """Put releases.json into the remote store, if there is one: from now on others start with it."""
    if settings.remote_store:
        _upload(settings, releases_path(settings.model_store))


def _fetch_first(store: Location, archive: Path) -> None:
    try:
        _fetch(store, archive)
    except MissingError as error:
        raise ServerError(
            f"{store} has neither releases.json nor {archive.name}; "
            f"make one with ./neuroq package --model-store {store}"
        ) from error


def _fetch(store: Location, path: Path) -> None:
    location = store.below(path.name)
    _place(str(location), default_cache().fetch(location), path)


def _upload(settings: Settings, path: Path) -> None:
    upload(path, parse_folder(settings.remote_store).below(path.name))


def _place(origin: str, source: Path, target: Path) -> None:
    """Copy a file under a temporary name and rename it; an archive has to be one."""
    if target.suffix == ".mar":
        try:
            require_archive(source)
        except ServerError as error:
            raise ServerError(f"{origin}: {error}") from error
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.new")
    shutil.copyfile(source, temporary)
    temporary.replace(target)
