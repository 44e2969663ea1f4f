"""20,000 requests of every kind from 32 clients: memory does not grow, and nothing is left behind.

The clients are bare sockets that stay open: an HTTP library would cost more processor time than the server.
"""

from __future__ import annotations

import json
import random
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest

from server.state import read_state
from tests.e2e.conftest import Server
from tests.e2e.test_metrics import scrape

pytestmark = pytest.mark.e2e
NUM_CLIENTS = 32
WARM_UP, MEASURED = 5_000, 15_000  # requests
MAX_GROWTH = 5 << 20  # bytes of the worker: a tenth of that is usual, a leak of 350 bytes a request is found
MAX_JAVA = 700 << 20  # bytes: a heap of 256 MB (vmargs), as much for buffers, code and threads


class Client:
    """One open connection. What comes back is read whole, but not looked at beyond its status."""

    def __init__(self, server: Server, number: int) -> None:
        host, port = server.status["addresses"]["inference"].removeprefix("http://").split(":")
        self._address = (host, int(port))
        self._headers = f"Host: {host}\r\nAuthorization: Bearer {server.status['token']}\r\n"
        self._number, self._random = number, random.Random(number)
        self._socket: socket.socket | None = None
        self._read = b""

    def run(self, num_requests: int) -> Counter[int]:
        """Send requests of every kind; return how many got which status, 0 for those that were left."""
        try:
            return Counter(self._one(number) for number in range(num_requests))
        finally:
            self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket, self._read = None, b""

    def _one(self, number: int) -> int:
        session_id = f"soak {self._number} {number % 4}"
        length = {"max_length": self._random.randint(1, 3), "stream": self._random.random() < 0.3}
        kind = self._random.random()
        if kind < 0.05:
            self._send("", {"prompt": "x", "max_length": -1})
        elif kind < 0.10:
            self._send("", {"action": "clear_session", "session_id": session_id})
        elif kind < 0.20:
            self._send("", {"prompt": "こんにちは", "session_id": session_id, **length})
        else:
            # Most of them without a conversation, whose file would be most of the time.
            stream, tokens = length["stream"], length["max_length"]
            body = {"model": "neuroq", "prompt": "はい", "max_tokens": tokens, "stream": stream}
            self._send("/1.0/v1/completions", body)
        if 0.15 < kind < 0.25:  # of either kind
            self.close()
            return 0
        return self._receive()

    def _send(self, path: str, body: dict[str, Any]) -> None:
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=60)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        content = json.dumps(body).encode()
        head = f"POST /predictions/neuroq{path} HTTP/1.1\r\n{self._headers}Content-Length: {len(content)}"
        self._socket.sendall(head.encode() + b"\r\n\r\n" + content)

    def _receive(self) -> int:
        head = self._until(b"\r\n\r\n").lower()
        if b"transfer-encoding: chunked" in head:
            while not self._until(b"\r\n\r\n").endswith(b"0\r\n\r\n"):
                pass
        else:
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            self._fill(length)
            self._read = self._read[length:]
        if b"connection: close" in head:  # after every error
            self.close()
        return int(head.split(b" ", 2)[1])

    def _until(self, end: bytes) -> bytes:
        while end not in self._read:
            self._fill(len(self._read) + 1)
        part, _, self._read = self._read.partition(end)
        return part + end

    def _fill(self, length: int) -> None:
        assert self._socket is not None
        while len(self._read) < length:
            data = self._socket.recv(1 << 16)
            assert data, "the server closed a connection"
            self._read += data


def send(server: Server, num_requests: int) -> Counter[int]:
    """Let all clients send their share; return how many requests got which status."""
    clients = [Client(server, number) for number in range(NUM_CLIENTS)]
    with ThreadPoolExecutor(NUM_CLIENTS) as pool:
        counts = pool.map(lambda client: client.run(num_requests // NUM_CLIENTS), clients)
        return sum(counts, Counter())


def memory(server: Server) -> tuple[int, int]:
    """Resident bytes of the worker and of Java."""
    (worker,) = server.ready_workers()
    state = read_state(server.folder / "run")
    assert state is not None
    return psutil.Process(worker).memory_info().rss, psutil.Process(state.pid).memory_info().rss


def test_memory_does_not_grow_over_twenty_thousand_requests(continuous: Server) -> None:
    begun = time.monotonic()
    send(continuous, WARM_UP)
    continuous.wait_until_idle()
    (worker, java), num_series = memory(continuous), count_series(continuous)
    statuses = send(continuous, MEASURED)
    continuous.wait_until_idle()
    worker_after, java_after = memory(continuous)
    print(statuses, f"{time.monotonic() - begun:.0f} s")
    print(f"worker {worker >> 10} -> {worker_after >> 10} kB, Java {java >> 10} -> {java_after >> 10} kB")
    assert set(statuses) == {0, 200, 400}
    assert worker_after - worker < MAX_GROWTH
    assert java_after < MAX_JAVA
    assert count_series(continuous) == num_series
    assert len(continuous.ready_workers()) == 1


def count_series(server: Server) -> int:
    return sum(len(found) for found in scrape(server).samples.values())
