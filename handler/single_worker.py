"""The guard of continuous batching: exactly one worker a model version.

TorchServe lets the management API scale any model. With two workers in continuous batching, requests hang
(its front end waits for the idle worker while it holds the lock that the busy one needs), so a second worker
must not come up: it fails to load, the first one serves on.
"""

from __future__ import annotations

import fcntl
import tempfile
from pathlib import Path
from typing import IO


class SecondWorkerError(RuntimeError):
    """Another worker of this model version is running."""


def claim(name: str, version: str) -> IO[str]:
    """Take the place of the one worker; the caller keeps the file open as long as it serves.

    The operating system frees the place when the process ends, however it ends. Raises SecondWorkerError.
    """
    place = Path(tempfile.gettempdir()) / f"neuroq-worker-{name}-{version}.lock".replace("/", "_")
    file = place.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise SecondWorkerError(
            f"{name} {version} has its one worker: continuous batching must not have two. "
            "For several workers package the archive with --profile workers."
        ) from error
    return file
