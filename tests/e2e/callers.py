"""Requests in flight: long generations by several callers at once."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import httpx

from tests.e2e.conftest import bearer, events

NUM_CLIENTS = 4
# Slow enough for a signal to come in the middle of an answer.
SLOW = {"context_length": 1000, "embed_dim": 256, "num_layers": 6, "endless": True}
LONG = {"max_length": 900, "n": 2, "temperature": 2.0, "top_k": 0, "top_p": 1.0}


@dataclass
class Answer:
    """What one caller got, and when it had all of it."""

    status: int
    text: str
    ended_at: float


class Callers:
    """Requests in flight: every other one streamed. `is_answered` is set when a stream has begun."""

    def __init__(self, url: str, token: str, num_clients: int = NUM_CLIENTS) -> None:
        self._url = url
        self._client = httpx.Client(headers=bearer(token), timeout=60, trust_env=False)
        self.is_answered = threading.Event()
        self._pool = ThreadPoolExecutor(num_clients)
        self._answers = [self._pool.submit(self._ask, number) for number in range(num_clients)]

    def answers(self) -> list[Answer]:
        with closing(self._client), self._pool:
            return [answer.result() for answer in self._answers]

    def num_answered(self) -> int:
        """How many had a whole answer; waits for all."""
        with closing(self._client), self._pool:
            return sum(
                answer.exception() is None and answer.result().status == 200 for answer in self._answers
            )

    def _ask(self, number: int) -> Answer:
        body = {
            "prompt": "はい",
            "session_id": f"s-{number}",
            "seed": number,
            "stream": number % 2 == 0,
            **LONG,
        }
        with self._client.stream("POST", self._url, json=body) as reply:
            if reply.headers["content-type"] == "text/event-stream":
                pieces = []
                for event in events(reply):
                    self.is_answered.set()
                    pieces.append(json.loads(event))
                assert "usage" in pieces[-1], pieces[-1]
                text = "".join(piece.get("delta", "") for piece in pieces)
            else:
                text = json.loads(reply.read())["generated"]
            return Answer(reply.status_code, text, time.monotonic())
