"""MODEL_STORE/releases.json: which version is served by default, and which one ./neuroq rollback brings back.

Written when a release is promoted or rolled back, and read at every start: TorchServe forgets what its
management API was told. Without the file there was no release, and neuroq.mar is served.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from server.errors import ServerError
from server.settings import Settings


@dataclass(frozen=True)
class Release:
    """A version and the name of its archive in the model store."""

    version: str
    archive: str


@dataclass(frozen=True)
class Releases:
    """The version that is served by default, and the one before it."""

    current: Release
    previous: Release | None = None

    def promoted(self, release: Release) -> "Releases":
        """Return what holds when `release` takes over."""
        return Releases(release, self.current)

    def rolled_back(self) -> "Releases":
        """Return what holds when the previous version is served again. Raises ServerError without one."""
        if self.previous is None:
            raise ServerError(f"there is no version before {self.current.version} to go back to")
        return Releases(self.previous, self.current)


def releases_path(model_store: Path) -> Path:
    """Return where the releases of a model store are written down."""
    return model_store / "releases.json"


def write_releases(model_store: Path, releases: Releases) -> None:
    """Write the file under a temporary name and rename it: a start never reads half of it."""
    path = releases_path(model_store)
    temporary = path.with_suffix(f".{os.getpid()}.new")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(asdict(releases), file, ensure_ascii=False, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_releases(model_store: Path) -> Releases | None:
    """Return the releases, None when there was none. Raises ServerError for a file that tells nothing."""
    path = releases_path(model_store)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        previous = record["previous"]
        return Releases(_release(record["current"]), _release(previous) if previous else None)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ServerError(f"{path} cannot be read ({error}); without it neuroq.mar is served") from error


def archives_to_load(settings: Settings) -> list[Path]:
    """Return the archives that a start loads; the first becomes the default."""
    releases = read_releases(settings.model_store)
    if releases is None:
        return [settings.archive]
    current = settings.model_store / releases.current.archive
    previous = settings.model_store / releases.previous.archive if releases.previous else None
    return [current, previous] if previous and previous.is_file() else [current]


def _release(record: dict[str, Any]) -> Release:
    return Release(str(record["version"]), Path(record["archive"]).name)  # never outside the model store
