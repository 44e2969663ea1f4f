"""The lock that a worker holds while it is answering somebody, and the sign that nobody new is let in.

Whoever stops the server (server/drain.py) writes into the file: from then on workers take no new request. It
then waits until it gets the lock, which every worker holds shared as long as it has requests in flight. The
operating system frees the lock of a worker that dies.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class InFlight:
    """This worker's hold on the file; without one it is open for ever."""

    def __init__(self, path: str) -> None:
        self._descriptor: int | None = None
        if path:
            Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._is_held = False

    @property
    def is_closed(self) -> bool:
        """Tell whether the server is being stopped."""
        return self._descriptor is not None and os.fstat(self._descriptor).st_size > 0

    def enter(self) -> bool:
        """Hold the lock, unless the server is being stopped; tells whether the request may come in."""
        if self.is_closed:
            return False
        if self._descriptor is not None and not self._is_held:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:  # closed a moment ago, and already in the hands of who closed it
                return False
            self._is_held = True
        return True

    def leave(self) -> None:
        """Let go: nobody is being answered any more."""
        if self._is_held:
            assert self._descriptor is not None
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            self._is_held = False
