"""Where a run's files go: found to be possible before any text is read."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path


def require_place(checkpoint_path: str) -> None:
    """Make the checkpoint's folder. Raises ValueError for what is no file's name, OSError for the folder."""
    path = Path(checkpoint_path)
    if path.is_dir() or checkpoint_path.endswith(os.sep):
        raise ValueError(
            f"checkpoint_path {checkpoint_path!r} is a folder; name a file in it, such as {path / 'model.pt'}"
        )
    if path.exists() and not path.is_file():
        raise ValueError(f"checkpoint_path {checkpoint_path!r} is no file that can be replaced")
    folder = path.parent
    for parent in (folder, *folder.parents):
        if parent.exists() and not parent.is_dir():
            raise OSError(errno.ENOTDIR, "is a file, there can be no folder of this name", str(parent))
    _require_writable(folder)


def _require_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, prefix=".neuroq-"):
            pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from error
