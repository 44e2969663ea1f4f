"""The places of a model version's workers on this machine, numbered from 0.

In continuous batching there is one: TorchServe lets the management API scale any model, and with two workers
requests hang (its front end waits for the idle worker while it holds the lock that the busy one needs). So a
second worker must not come up: it fails to load, the first one serves on. Otherwise the number tells the
workers' gauges apart; a new worker gets that of one that is gone.
"""

from __future__ import annotations

import fcntl
import tempfile
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import IO


class NoPlaceError(RuntimeError):
    """The one place has its worker."""


@dataclass(frozen=True)
class WorkerPlace:
    """A number that no other worker of this model version has while `lock` is open."""

    number: int
    lock: IO[str]
    prefix: str  # of the lock files of this model version

    def vacant(self) -> set[int]:
        """Return the numbers that a worker had once and none has now."""
        used = takewhile(lambda number: _path(self.prefix, number).exists(), count())
        return {number for number in used if number != self.number and self._is_vacant(number)}

    def _is_vacant(self, number: int) -> bool:
        lock = _lock(self.prefix, number, fcntl.LOCK_SH)
        if lock is not None:
            lock.close()
        return lock is not None


def claim(name: str, version: str, *, only_one: bool) -> WorkerPlace:
    """Take the first free place; the caller keeps it as long as it serves. Raises NoPlaceError.

    The operating system frees the place when the process ends, however it ends.
    """
    prefix = f"neuroq-worker-{name}-{version}".replace("/", "_")
    for number in range(1) if only_one else count():
        lock = _lock(prefix, number, fcntl.LOCK_EX)
        if lock is not None:
            return WorkerPlace(number, lock, prefix)
    raise NoPlaceError(
        f"{name} {version} has its one worker: continuous batching must not have two. "
        "For several workers package the archive with --profile workers."
    )


def _path(prefix: str, number: int) -> Path:
    return Path(tempfile.gettempdir()) / f"{prefix}-{number}.lock"


def _lock(prefix: str, number: int, kind: int) -> IO[str] | None:
    """Open and lock a place's file; None while a worker has it."""
    file = _path(prefix, number).open("w")
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file
