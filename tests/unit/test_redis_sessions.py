"""Leases, and a real Redis that is stopped, killed, frozen, absent or forgetful."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from handler import redis_sessions
from handler.redis_sessions import RedisSessions
from handler.sessions import SessionsAwayError, open_sessions
from handler.settings import SessionSettings
from model.dialogue import Turn
from tests.redis_server import RedisServer

pytestmark = pytest.mark.unit
Open = Callable[[], RedisSessions]
EXCHANGE = [Turn("user", "こんにちは"), Turn("assistant", "はい")]


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield server
    server.close()


@pytest.fixture
def open_store(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens a store that notices everything soon."""
    monkeypatch.setattr(redis_sessions, "_BEAT", 0.05)
    monkeypatch.setattr(redis_sessions, "_LEASE", 500)
    monkeypatch.setattr(redis_sessions, "_TIMEOUT", 0.3)
    opened: list[RedisSessions] = []

    def open_one() -> RedisSessions:
        opened.append(RedisSessions(SessionSettings(store=redis_server.url)))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_lease_lasts_while_its_worker_answers_and_ends_with_it(
    redis_server: RedisServer, open_store: Open
) -> None:
    redis_server.start()
    one, two = open_store(), open_store()
    assert one.take("a", 60) == []
    client = redis_server.client
    client.pexpire("neuroq:hold:a", 600_000)
    wait_for(lambda: 0 < client.pttl("neuroq:hold:a") <= 500)  # renewed
    assert one.give_back("a")
    code = f"""
import os
from handler import redis_sessions
from handler.settings import SessionSettings
redis_sessions._LEASE = 500
store = redis_sessions.RedisSessions(SessionSettings(store={redis_server.url!r}))
os._exit(store.take("a", 60) != [])
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    wait_for(lambda: two.take("a", 60) == [])


def test_a_hold_ends_with_its_time(redis_server: RedisServer, open_store: Open) -> None:
    redis_server.start()
    one, two = open_store(), open_store()
    assert one.take("a", 0.1) == []
    wait_for(lambda: two.take("a", 60) == [])
    assert not one.give_back("a", EXCHANGE)
    assert two.give_back("a")
    assert two.take("a", 60) == []


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_what_was_kept_is_there_when_redis_is_back(
    redis_server: RedisServer, open_store: Open, how: signal.Signals
) -> None:
    redis_server.start()
    one, two = open_store(), open_store()
    assert one.take("a", 60) == []
    assert one.give_back("a", EXCHANGE)
    assert one.take("held", 60) == []
    redis_server.stop(how)
    for call in (lambda: one.take("a", 60), lambda: one.give_back("held", EXCHANGE)):
        with pytest.raises(SessionsAwayError):
            call()
    assert one.is_away
    redis_server.start()
    wait_for(lambda: not one.is_away and not two.is_away)
    assert two.take("a", 60) == EXCHANGE
    wait_for(lambda: two.take("held", 60) == [])  # what failed holds nothing for long


def test_a_frozen_redis_is_away_and_its_late_answers_do_no_harm(
    redis_server: RedisServer, open_store: Open
) -> None:
    redis_server.start()
    store = open_store()
    redis_server.freeze()
    with pytest.raises(SessionsAwayError):
        store.take("a", 60)
    redis_server.thaw()
    wait_for(lambda: not store.is_away)
    wait_for(lambda: store.take("a", 60) == [])


def test_a_store_may_be_opened_before_redis_is_there(redis_server: RedisServer, open_store: Open) -> None:
    store = open_store()
    assert store.is_away
    with pytest.raises(SessionsAwayError):
        store.take("a", 60)
    redis_server.start()
    wait_for(lambda: not store.is_away)
    assert store.take("a", 60) == []


def test_a_redis_that_may_forget_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = ("--appendonly", "no", "--maxmemory-policy", "allkeys-lru")
    for folder, redis in (
        ("sure", RedisServer(tmp_path / "a")),
        ("unsure", RedisServer(tmp_path / "b", options)),
    ):
        redis.start()
        caplog.clear()
        RedisSessions(SessionSettings(store=redis.url)).close()
        warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
        if folder == "sure":
            assert warnings == []
        else:
            (warning,) = warnings
            assert "appendonly is no" in warning
            assert "appendfsync is everysec, not always" in warning
            assert "maxmemory-policy is allkeys-lru" in warning
        redis.close()


def test_one_that_does_not_tell_is_warned_of_and_used(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """As hosted ones: CONFIG is forbidden. The password stands in no line of the log."""
    redis_server.start()
    redis_server.client.acl_setuser(
        "neuroq",
        enabled=True,
        passwords=["+secret"],
        keys=["neuroq:*"],
        categories=["+@all"],
        commands=["-config"],
    )
    store = RedisSessions(SessionSettings(store=redis_server.url.replace("//", "//neuroq:secret@")))
    assert store.take("a", 60) == []
    assert store.give_back("a", EXCHANGE)
    store.close()
    assert "appendonly is unknown" in caplog.text
    assert "secret" not in caplog.text


def test_one_that_cannot_write_is_away(redis_server: RedisServer, open_store: Open) -> None:
    redis_server.start()
    store = open_store()
    redis_server.client.replicaof("127.0.0.1", "1")
    wait_for(lambda: store.is_away)
    redis_server.client.replicaof("NO", "ONE")
    wait_for(lambda: not store.is_away)


def test_a_malformed_address_is_refused() -> None:
    with pytest.raises(ValueError, match="Port"):
        open_sessions(SessionSettings(store="redis://127.0.0.1:port/0"))
