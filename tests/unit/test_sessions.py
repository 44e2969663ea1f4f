"""Both stores of conversations: what they promise alike, with a real file and a real Redis."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from handler.sessions import SessionStore, open_sessions
from handler.settings import SessionSettings
from model.dialogue import Turn
from tests.redis_server import RedisServer

pytestmark = pytest.mark.unit
Open = Callable[..., SessionStore]


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.close()


@pytest.fixture(params=["sqlite", "redis"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens one store once more, for another worker."""
    place: dict[str, str] = {"path": str(tmp_path / "s.db")}
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        server.client.flushall()
        place = {"store": server.url}
    opened: list[SessionStore] = []

    def open_one(**bounds: object) -> SessionStore:
        opened.append(open_sessions(SessionSettings(**place, **bounds)))  # type: ignore[arg-type]
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


def exchange(store: SessionStore, session_id: str, *texts: str) -> None:
    assert store.take(session_id, 10) is not None
    turns = [Turn("user" if i % 2 == 0 else "assistant", text) for i, text in enumerate(texts)]
    assert store.give_back(session_id, turns)


def history(store: SessionStore, session_id: str) -> list[str]:
    turns = store.take(session_id, 10)
    assert turns is not None
    assert store.give_back(session_id)
    return [turn.text for turn in turns]


def test_a_conversation_is_seen_by_every_worker_and_after_a_restart(open_store: Open) -> None:
    one, two = open_store(), open_store()
    exchange(one, "a", "こんにちは", "はい")
    assert history(two, "a") == ["こんにちは", "はい"]
    exchange(two, "a", "犬", "猫")
    one.close(), two.close()
    three = open_store()
    assert history(three, "a") == ["こんにちは", "はい", "犬", "猫"]
    assert three.count() == 1


def test_a_session_is_held_by_one_request_at_a_time(open_store: Open) -> None:
    one, two = open_store(), open_store()
    assert one.take("a", 10) == []
    assert two.take("a", 10) is None
    assert one.take("a", 10) is None
    assert two.take("b", 10) == []
    assert one.give_back("a")
    assert two.take("a", 10) == []


def test_whoever_does_not_hold_a_session_changes_nothing(open_store: Open) -> None:
    one, two = open_store(), open_store()
    exchange(one, "a", "x", "y")
    assert not two.give_back("a", [Turn("user", "late"), Turn("assistant", "lost")])
    two.forget("a")
    assert history(one, "a") == ["x", "y"]


def test_forgetting(open_store: Open) -> None:
    store = open_store()
    exchange(store, "a", "x", "y")
    assert store.take("a", 10) is not None
    store.forget("a")
    assert store.count() == 0
    assert history(store, "a") == []


def test_turns_and_bytes_are_bounded_oldest_first(open_store: Open) -> None:
    store = open_store(max_turns=4, max_bytes=30)
    for number in range(3):
        exchange(store, "a", f"q{number}", f"a{number}")
    assert history(store, "a") == ["q1", "a1", "q2", "a2"]
    exchange(store, "a", "あ" * 9, "b")  # 28 bytes
    assert history(store, "a") == ["あ" * 9, "b"]
    exchange(store, "a", "あ" * 9, "い" * 9)  # too long alone
    assert history(store, "a") == []
    assert store.count() == 0


def test_idle_sessions_expire(open_store: Open) -> None:
    store = open_store(idle_seconds=0.3)
    exchange(store, "a", "x", "y")
    time.sleep(0.4)
    assert history(store, "a") == []
    assert store.count() == 0


def test_the_number_of_sessions_is_bounded_and_the_held_ones_stay(open_store: Open) -> None:
    store = open_store(max_sessions=3)
    exchange(store, "held", "x", "y")
    assert store.take("held", 10)
    for number in range(6):
        time.sleep(0.002)  # times in Redis are whole milliseconds
        exchange(store, f"s{number}", "x", "y")
    assert store.give_back("held", [Turn("user", "z"), Turn("assistant", "w")])
    assert store.count() == 3
    assert [number for number in range(6) if history(store, f"s{number}")] == [4, 5]
    assert history(store, "held") == ["x", "y", "z", "w"]
