"""The model archive, as far as the server's side wants to know it."""

import json
import zipfile
from pathlib import Path
from typing import Any

import yaml

from server.errors import ServerError

MANIFEST = "MAR-INF/MANIFEST.json"
RECORD = "package.json"  # what the archive was made of
CHECKPOINT, TOKENIZER = "neuroq_checkpoint.pt", "neuroq_tokenizer.model"


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


def archive_version(archive: Path) -> str:
    """Return the version that an archive was packaged as. Raises ServerError."""
    return str(_read(archive, MANIFEST)["model"]["modelVersion"])


def archive_checkpoint(archive: Path) -> str:
    """Return the SHA-256 of the checkpoint that an archive holds. Raises ServerError."""
    return str(_read(archive, RECORD)["checkpoint_sha256"])


def extract_checkpoint(archive: Path, folder: Path) -> Path:
    """Put an archive's checkpoint and tokenizer into a folder; return where the checkpoint is."""
    require_archive(archive)
    with zipfile.ZipFile(archive) as files:
        for name in (CHECKPOINT, TOKENIZER):
            files.extract(name, folder)
    return folder / CHECKPOINT


def _read(archive: Path, name: str) -> dict[str, Any]:
    require_archive(archive)
    try:
        with zipfile.ZipFile(archive) as files:
            record: dict[str, Any] = json.loads(files.read(name))
            return record
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ServerError(f"{archive} was not made by ./neuroq package ({error})") from error
