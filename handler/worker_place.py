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
from itertools import count
from pathlib import Path
from typing import IO


class NoPlaceError(RuntimeError):
    """The one place has its worker."""


@dataclass(frozen=True)
class WorkerPlace:
    """A number that no other worker of this model version has while `lock` is open."""

    number: int
    lock: IO[str]


def claim(name: str, version: str, *, only_one: bool) -> WorkerPlace:
    """Take the first free place; the caller keeps it as long as it serves. Raises NoPlaceError.

    The operating system frees the place when the process ends, however it ends.
    """
    for number in range(1) if only_one else count():
        lock = _lock(f"neuroq-worker-{name}-{version}-{number}.lock".replace("/", "_"))
        if lock is not None:
            return WorkerPlace(number, lock)
    raise NoPlaceError(
        f"{name} {version} has its one worker: continuous batching must not have two. "
        "For several workers package the archive with --profile workers."
    )


def _lock(name: str) -> IO[str] | None:
    """Open and lock a file of the temporary folder; None while another process has it."""
    file = (Path(tempfile.gettempdir()) / name).open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file
