"""A package as a registry's own client fetches it: read, never installed, nothing of it is run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

_SECONDS_AT_MOST = 900


class UnavailableError(Exception):
    """A source cannot be had here; the message says why, in one line."""


@dataclass(frozen=True)
class Package:
    """Name, version, and the content of the files that were asked for, by their path in the package."""

    name: str
    version: str
    files: dict[str, bytes]

    def matching(self, pattern: str) -> dict[str, bytes]:
        """Return the files whose path matches, in the order of their paths."""
        return {path: self.files[path] for path in sorted(self.files) if fnmatchcase(path, pattern)}


class Registry(Protocol):
    """Where packages come from."""

    def fetch(self, names: str, patterns: Sequence[str]) -> list[Package]:
        """Return the packages whose name matches, with the files that match. Raises UnavailableError."""


def is_wanted(path: str, patterns: Sequence[str]) -> bool:
    """Tell whether a path matches one of the patterns."""
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def output_of(command: Sequence[str], folder: Path) -> bytes:
    """Return what a client printed when run in `folder`. Raises UnavailableError with its error line."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS_AT_MOST,
            check=False,
        )
    except FileNotFoundError as error:
        raise UnavailableError(f"there is no {command[0]} here") from error
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"{command[0]} took more than {_SECONDS_AT_MOST} s") from error
    if done.returncode:
        raise UnavailableError(_error_line(done.stderr) or f"{command[0]} failed ({done.returncode})")
    return done.stdout


def _error_line(printed: bytes) -> str:
    """Return the last error; warnings may come after it."""
    lines = printed.decode(errors="replace").split("\n")
    lines = [line.strip() for line in lines if line.strip()]
    errors = [line for line in lines if line.startswith(("E:", "ERROR:"))]
    return (errors or lines or [""])[-1].removeprefix("E: ").removeprefix("ERROR: ")
