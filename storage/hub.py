"""Repositories of the Hugging Face hub: hf://OWNER/NAME/FILE, hf://datasets/OWNER/NAME; only to be read.

The package huggingface_hub is needed for them alone (requirements/hub.txt). It keeps what it fetches in its
own cache, goes to $HF_ENDPOINT if that is set, and reads $HF_TOKEN for what is private.
"""

import importlib
import logging
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from storage.errors import MissingError, StorageError, TransferError

SCHEME = "hf://"
_PATIENCE = 10  # seconds until a connection stands
_URL = re.compile(
    r"hf://(?P<datasets>datasets/)?(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.-]+))?(?:/(?P<path>.*))?"
)


@dataclass(frozen=True)
class HubPlace:
    """A file or folder of a repository, or with an empty path the whole of it."""

    url: str
    kind: Literal["model", "dataset"]
    repository: str
    revision: str | None
    path: str


def is_hub(place: str) -> bool:
    """Tell whether a place is meant as one of the hub."""
    return place.lower().startswith("hf:/")


def parse_hub(url: str) -> HubPlace:
    """Return the place that a URL names. Raises ValueError that goes on after the name of its option."""
    found = _URL.fullmatch(url)
    parts = PurePosixPath(found["path"] or "").parts if found else ("..",)
    if found is None or not url.isprintable() or ".." in parts:
        raise ValueError("must be hf://OWNER/NAME/FILE or hf://datasets/OWNER/NAME, @REVISION after the name")
    kind: Literal["model", "dataset"] = "dataset" if found["datasets"] else "model"
    return HubPlace(url, kind, found["repository"], found["revision"], "/".join(parts))


def list_hub(place: HubPlace) -> list[str]:
    """Return the paths of all files of the place's repository. Raises StorageError."""
    with _told(place) as hub:
        if not _is_reachable():
            raise _unreachable(place)
        api = hub.HfApi(endpoint=_endpoint())
        files = api.list_repo_files(place.repository, repo_type=place.kind, revision=place.revision)
        return sorted(map(str, files))


def fetch_hub(place: HubPlace, path: str) -> Path:
    """Return where a copy of a file lies, fetched unless it is held already. Raises StorageError."""
    with _told(place) as hub:
        return Path(
            hub.hf_hub_download(
                place.repository,
                path,
                repo_type=place.kind,
                revision=place.revision,
                endpoint=_endpoint(),
                cache_dir=os.environ.get("HF_HUB_CACHE"),
                local_files_only=not _is_reachable(),
            )
        )


def fetch_file(url: str) -> Path:
    """Return where a copy of the file that a URL names lies. Raises StorageError, ValueError."""
    place = parse_hub(url)
    if not place.path:
        raise ValueError("must name a file of the repository, such as hf://OWNER/NAME/mine.pt")
    return fetch_hub(place, place.path)


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT") or "https://huggingface.co"


def _is_reachable() -> bool:
    """Tell whether the hub can be connected to: the library itself would try for half a minute.

    Behind a proxy only the library knows.
    """
    url = urlsplit(_endpoint())
    if url.scheme in getproxies() and not proxy_bypass(url.hostname or ""):
        return True
    try:
        port = url.port or (80 if url.scheme == "http" else 443)
        socket.create_connection((url.hostname or "", port), timeout=_PATIENCE).close()
    except OSError:
        return False
    return True


@contextmanager
def _told(place: HubPlace) -> Iterator[Any]:
    """Yield huggingface_hub; what it raises becomes a StorageError in one line."""
    try:
        hub = importlib.import_module("huggingface_hub")
        errors = importlib.import_module("huggingface_hub.errors")
    except ImportError as error:
        message = f"{place.url} cannot be read without huggingface_hub: pip install huggingface_hub"
        raise StorageError(message) from error
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # one line of ours, none of each try
    try:
        yield hub
    except (errors.RepositoryNotFoundError, errors.EntryNotFoundError, errors.RevisionNotFoundError) as error:
        if isinstance(error, errors.LocalEntryNotFoundError):
            raise _unreachable(place) from error
        hint = "; for a private one set HF_TOKEN"
        raise MissingError(f"{place.url}: there is no such repository, revision or file{hint}") from error
    except _failures() as error:
        if getattr(error, "response", None) is None:
            raise _unreachable(place) from error
        raise StorageError(f"{place.url} cannot be read: {_first_line(error)}") from error


def _failures() -> tuple[type[Exception], ...]:
    return (OSError, ValueError, *_transport_errors())


def _unreachable(place: HubPlace) -> StorageError:
    return TransferError(f"{place.url}: {_endpoint()} cannot be reached, and no copy was fetched before")


def _transport_errors() -> Iterator[type[Exception]]:
    """Yield what the library's own HTTP client raises: which one it is depends on its version."""
    for name in ("httpx2", "httpx"):
        with suppress(ImportError):
            error: type[Exception] = importlib.import_module(name).HTTPError
            yield error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
