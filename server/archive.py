"""The model archive, as far as the server's side wants to know it."""

import json
import zipfile
from pathlib import Path

import yaml

from server.errors import ServerError

MANIFEST = "MAR-INF/MANIFEST.json"


def require_archive(archive: Path) -> None:
    """Raise ServerError, one line, when this is no model archive; TorchServe would try for ever."""
    if not archive.is_file():
        raise ServerError(f"no model archive at {archive}; try ./neuroq package")
    try:
        with zipfile.ZipFile(archive) as files:
            files.getinfo(MANIFEST)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ServerError(f"{archive} is no model archive ({error}); try ./neuroq package") from error


def archive_profile(archive: Path) -> str | None:
    """Return the profile that an archive was packaged for, None when it does not tell."""
    try:
        with zipfile.ZipFile(archive) as files:
            manifest = json.loads(files.read(MANIFEST))
            config = yaml.safe_load(files.read(manifest["model"]["configFile"]))
        return "continuous" if config.get("continuousBatching") else "workers"
    except (OSError, KeyError, ValueError, AttributeError, zipfile.BadZipFile, yaml.YAMLError):
        return None
