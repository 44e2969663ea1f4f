"""Letting nobody new in, and waiting for those who are being answered. TorchServe itself drops them.

The workers' side is handler/in_flight.py: a file that closes the server when something stands in it, and that
each worker holds shared while it is answering.
"""

import fcntl
import time
from contextlib import suppress
from typing import IO

from server.errors import ServerError
from server.management import Management
from server.settings import Settings

# Requests on their way through TorchServe's front end: to the worker before it closes, to the client after.
SETTLE = 0.5
LOOK = 0.05


def wait_for_queue(management: Management, seconds: float) -> None:
    """Wait until no request lies in TorchServe's queues: workers that are closed would refuse it."""
    deadline = time.monotonic() + seconds
    with suppress(ServerError):
        while management.num_queued() and time.monotonic() < deadline:
            time.sleep(LOOK)


def drain(settings: Settings, seconds: float) -> bool:
    """Close the server's workers and wait until they answer nobody; tells whether that came true in time."""
    deadline = time.monotonic() + seconds
    time.sleep(min(SETTLE, seconds))
    with settings.in_flight_path.open("w") as file:
        file.write("closed\n")
        file.flush()
        is_idle = _wait_for_lock(file, deadline)
    time.sleep(SETTLE if is_idle else 0)
    return is_idle


def _wait_for_lock(file: IO[str], deadline: float) -> bool:
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK)
        else:
            return True
