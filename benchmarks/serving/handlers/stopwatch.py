"""Where a worker's time goes: wall and processor seconds by part, each thread's parts one after the other.

A step of TorchServe is, in its thread: `front end` (from a reply's end to the next message's first byte:
Java, and at less than full load also waiting for clients), `read` (the message off the socket), `unpack`
(TorchServe's own preparation), `handler`, `encode`. Where the engine runs inside the handler, `service` is
what comes before it there and `engine` the engine; where it has a thread of its own, both are that thread's.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ts.service
from ts.protocol import otf_message_handler

WRITE_SECONDS = 0.5


class Stopwatch:
    """Adds up parts; `lap` ends one and begins the next."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parts: dict[str, list[float]] = {}  # name -> wall and processor seconds, how often
        self._last: dict[int, tuple[float, float]] = {}  # thread -> its last lap
        self._written = 0.0
        self._num_steps = 0
        self._num_rows = 0

    def watch_worker(self) -> None:
        """Lap where TorchServe's worker reads a message and where it encodes the replies."""
        read, encode = otf_message_handler._retrieve_inference_msg, ts.service.create_predict_response
        otf_message_handler._retrieve_inference_msg = self.between("front end", read, "read")
        ts.service.create_predict_response = self.between("handler", encode, "encode")

    def between(self, before: str, function: Callable[..., Any], during: str) -> Callable[..., Any]:
        """Return the function with a lap at its begin, that ends `before`, and one at its end."""

        def timed(*arguments: Any, **options: Any) -> Any:
            self.lap(before)
            result = function(*arguments, **options)
            self.lap(during)
            return result

        return timed

    def lap(self, part: str) -> None:
        """Add the time since this thread's last lap to a part."""
        now = (time.perf_counter(), time.thread_time())
        last = self._last.get(threading.get_ident(), now)
        total = self._parts.setdefault(part, [0.0, 0.0, 0])
        total[0] += now[0] - last[0]
        total[1] += now[1] - last[1]
        total[2] += 1
        self._last[threading.get_ident()] = now

    def count_step(self, num_rows: int) -> None:
        """Count a step of TorchServe, and write everything now and then."""
        self._num_steps += 1
        self._num_rows += num_rows
        if time.monotonic() - self._written < WRITE_SECONDS:
            return
        self._written = time.monotonic()
        record = {"steps": self._num_steps, "rows": self._num_rows, "parts": self._parts}
        temporary = self._path.with_suffix(".new")
        temporary.write_text(json.dumps(record))
        temporary.replace(self._path)
