"""Files that are replaced whole: a reader finds the old content or the new, also after a crash."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO


def replace_files(writers: Mapping[Path, Callable[[BinaryIO], object]]) -> None:
    """Write files that belong together under temporary names, then rename them.

    When one cannot be written, all stay as they were, and OSError names it. There may be one writer at a
    time: the temporary name is fixed, so what a killed process left is overwritten by the next one.
    """
    with ExitStack() as stack:
        for path, write in writers.items():
            stack.callback(_temporary(path).unlink, missing_ok=True)
            _write(path, write)
        for path in writers:
            _temporary(path).replace(path)


def _write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _temporary(path).open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")
