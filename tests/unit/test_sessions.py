from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from handler.sessions import SessionStore
from handler.settings import SessionSettings
from model.dialogue import Turn

pytestmark = pytest.mark.unit


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def exchange(store: SessionStore, session_id: str, *texts: str) -> None:
    assert store.take(session_id, 10) is not None
    store.give_back(
        session_id, [Turn("user" if i % 2 == 0 else "assistant", text) for i, text in enumerate(texts)]
    )


def history(store: SessionStore, session_id: str) -> list[str]:
    turns = store.take(session_id, 10)
    assert turns is not None
    store.give_back(session_id)
    return [turn.text for turn in turns]


def open_store(folder: Path, clock: Clock, **bounds: object) -> SessionStore:
    return SessionStore(folder / "s.db", SessionSettings(**bounds), clock)  # type: ignore[arg-type]


def test_a_conversation_is_seen_by_every_worker_and_after_a_restart(tmp_path: Path, clock: Clock) -> None:
    one, two = open_store(tmp_path, clock), open_store(tmp_path, clock)
    exchange(one, "a", "こんにちは", "はい")
    assert history(two, "a") == ["こんにちは", "はい"]
    one.close(), two.close()
    assert history(open_store(tmp_path, clock), "a") == ["こんにちは", "はい"]


def test_a_session_is_held_by_one_request_at_a_time(tmp_path: Path, clock: Clock) -> None:
    one, two = open_store(tmp_path, clock), open_store(tmp_path, clock)
    assert one.take("a", 10) == []
    assert two.take("a", 10) is None
    assert one.take("a", 10) is None
    assert two.take("b", 10) == []
    one.give_back("a")
    assert two.take("a", 10) == []


def test_a_hold_ends_with_its_time(tmp_path: Path, clock: Clock) -> None:
    one, two = open_store(tmp_path, clock), open_store(tmp_path, clock)
    one.take("a", 10)
    clock.now += 11
    assert two.take("a", 10) == []
    one.give_back(
        "a", [Turn("user", "too late"), Turn("assistant", "lost")]
    )  # the hold is no longer one's own
    two.give_back("a")
    assert history(two, "a") == []


def test_a_hold_ends_with_its_process(tmp_path: Path, clock: Clock) -> None:
    code = (
        "from pathlib import Path\nfrom handler.sessions import SessionStore\n"
        "from handler.settings import SessionSettings\n"
        f"assert SessionStore(Path({str(tmp_path / 's.db')!r}), SessionSettings()).take('a', 1e9) == []"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert open_store(tmp_path, clock).take("a", 10) == []


def test_forgetting(tmp_path: Path, clock: Clock) -> None:
    store = open_store(tmp_path, clock)
    exchange(store, "a", "x", "y")
    assert store.take("a", 10) is not None
    store.forget("a")
    assert history(store, "a") == []
    assert store.count() == 0


def test_turns_and_bytes_are_bounded_oldest_first(tmp_path: Path, clock: Clock) -> None:
    store = open_store(tmp_path, clock, max_turns=4, max_bytes=30)
    for number in range(3):
        exchange(store, "a", f"q{number}", f"a{number}")
    assert history(store, "a") == ["q1", "a1", "q2", "a2"]
    exchange(store, "a", "あ" * 9, "b")  # 28 bytes
    assert history(store, "a") == ["あ" * 9, "b"]


def test_idle_sessions_expire(tmp_path: Path, clock: Clock) -> None:
    store = open_store(tmp_path, clock, idle_seconds=60.0)
    exchange(store, "a", "x", "y")
    clock.now += 61
    assert history(store, "a") == []


def test_the_number_of_sessions_is_bounded(tmp_path: Path, clock: Clock) -> None:
    store = open_store(tmp_path, clock, max_sessions=3)
    for number in range(6):
        clock.now += 1
        exchange(store, f"s{number}", "x", "y")
    assert store.count() == 3
    assert history(store, "s5") == ["x", "y"]
    assert history(store, "s0") == []


def test_the_file_is_private(tmp_path: Path, clock: Clock) -> None:
    open_store(tmp_path, clock)
    assert (tmp_path / "s.db").stat().st_mode & 0o077 == 0
