"""The service with a real Redis that answers late, or no more, or to another."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from handler import redis_sessions
from handler.driver import Driver
from handler.redis_sessions import RedisSessions
from handler.replies import Answer, Reply
from handler.served_model import ServedModel
from handler.service import Service
from handler.settings import HandlerSettings, SessionSettings
from model.tokenizer import Tokenizer
from tests.conftest import write_checkpoint
from tests.redis_server import RedisServer

pytestmark = pytest.mark.unit


class Harness:
    """A driver with its store, and the Redis behind it."""

    def __init__(self, folder: Path, tokenizer: Tokenizer, **settings: Any) -> None:
        self.redis = RedisServer(folder / "redis")
        self.redis.start()
        write_checkpoint(folder, tokenizer, context_length=128)
        served = ServedModel.load(folder, name="neuroq", version="1.0", device=torch.device("cpu"))
        sessions = SessionSettings(store=self.redis.url, **settings)
        self.store = RedisSessions(sessions)
        self.driver = Driver(lambda: Service(served, self.store, HandlerSettings(slots=4, sessions=sessions)))
        self.answers: dict[str, Answer] = {}

    def submit(self, name: str, **body: Any) -> None:
        self.driver.submit(name, {"prompt": "はい", "max_length": 5, "seed": 1, **body})

    def answer(self, name: str) -> Answer:
        """The last answer to a request."""
        deadline = time.monotonic() + 60
        while name not in self.answers:
            assert time.monotonic() < deadline
            news = self.driver.take(0.1)
            self.answers |= {name: answer for name, answer in news.items() if answer.is_last}
        return self.answers.pop(name)

    def ask(self, **body: Any) -> Reply:
        self.submit("ask", **body)
        reply = self.answer("ask")
        assert isinstance(reply, Reply)
        return reply

    def turns(self, session_id: str) -> int:
        return self.redis.client.llen(f"neuroq:turns:{session_id}")

    def close(self) -> None:
        self.store.close()
        self.redis.close()


@pytest.fixture
def open_harness(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Harness]]:
    monkeypatch.setattr(redis_sessions, "_TIMEOUT", 30.0)  # a frozen Redis is waited for
    monkeypatch.setattr(redis_sessions, "_LEASE", 600_000)
    opened: list[Harness] = []

    def open_one(**settings: Any) -> Harness:
        opened.append(Harness(tmp_path, tokenizer, **settings))
        return opened[-1]

    yield open_one
    for harness in opened:
        harness.close()


@pytest.fixture
def harness(open_harness: Callable[..., Harness]) -> Harness:
    return open_harness()


def test_a_conversation_goes_on_and_is_forgotten(harness: Harness) -> None:
    replies = [harness.ask(session_id="a") for _ in range(3)]
    tokens = [reply.body["usage"]["prompt_tokens"] for reply in replies]
    assert tokens == sorted(set(tokens))
    harness.driver.submit("clear", {"action": "clear_session", "session_id": "a"})
    assert isinstance(answer := harness.answer("clear"), Reply)
    assert answer.status == 200
    assert harness.ask(session_id="a").body["usage"]["prompt_tokens"] == tokens[0]


def test_nobody_waits_for_a_redis_that_does_not_answer_but_who_needs_it(
    open_harness: Callable[..., Harness],
) -> None:
    harness = open_harness(share_default=False)
    harness.redis.freeze()
    harness.submit("waits", session_id="a")
    assert harness.ask().status == 200
    assert "waits" not in harness.answers
    harness.redis.thaw()
    assert isinstance(answer := harness.answer("waits"), Reply)
    assert answer.status == 200
    assert harness.turns("a") == 2


def test_who_leaves_before_redis_has_answered_holds_nothing(harness: Harness) -> None:
    harness.redis.freeze()
    harness.submit("gone", session_id="a")
    harness.driver.cancel_all_but(set())
    harness.redis.thaw()
    assert harness.ask(session_id="a").status == 200  # else it would wait for the lease to end


@pytest.mark.parametrize(
    ("session_id", "store_away", "status"),
    [("a", "answer", 503), ("default", "answer", 200), ("default", "refuse", 503)],
)
@pytest.mark.parametrize("streams", [False, True])
def test_redis_goes_away_before_the_turn_is_kept(
    open_harness: Callable[..., Harness],
    monkeypatch: pytest.MonkeyPatch,
    session_id: str,
    store_away: str,
    status: int,
    streams: bool,
) -> None:
    harness = open_harness(store_away=store_away)
    give_back = harness.store.give_back

    def too_late(session_id: str, *turns: Any) -> bool:
        if turns:
            harness.redis.stop(signal.SIGKILL)
        return give_back(session_id, *turns)

    monkeypatch.setattr(harness.store, "give_back", too_late)
    harness.submit("r", session_id=session_id, stream=streams)
    answer = harness.answer("r")
    if isinstance(answer, Reply):
        last = answer.body
        assert answer.status == status
    else:
        last = answer.events[-1]  # type: ignore[assignment]
    if status == 200:
        assert last["session_id"] is None
    else:
        assert last["code"] == "sessions_unavailable"
    harness.redis.start()
    assert harness.turns(session_id) == 0


def test_who_has_lost_the_conversation_to_another_is_told_so(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_back = harness.store.give_back

    def robbed(*arguments: Any) -> bool:
        harness.redis.client.set("neuroq:hold:a", "another's")
        return give_back(*arguments)

    monkeypatch.setattr(harness.store, "give_back", robbed)
    reply = harness.ask(session_id="a")
    assert (reply.status, reply.body["code"]) == (503, "sessions_unavailable")
    assert "went on elsewhere" in reply.body["error"]
    assert harness.turns("a") == 0
