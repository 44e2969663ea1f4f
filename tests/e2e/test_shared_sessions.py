"""Two servers with one Redis: each conversation goes on at either, and survives what becomes of Redis.

`answering` serves requests without history while Redis is away, `refusing` serves none.
"""

from __future__ import annotations

import shlex
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from threading import Event
from typing import NamedTuple

import httpx
import pytest

from model.tokenizer import Tokenizer
from tests.conftest import ROOT, write_checkpoint
from tests.e2e.conftest import CONTEXT_LENGTH, Server
from tests.redis_server import RedisServer

pytestmark = pytest.mark.e2e
PAGE = (ROOT / "docs" / "sessions.md").read_text(encoding="utf-8")


class Pair(NamedTuple):
    answering: Server
    refusing: Server
    redis: RedisServer

    def turns(self, session_id: str) -> list[str]:
        """What Redis has of a conversation."""
        return list(self.redis.client.lrange(f"neuroq:turns:{session_id}", 0, -1))

    def wait_until_back(self) -> None:
        for server in (self.answering, self.refusing):
            wait_for(lambda server=server: server.post({"action": "status"}).json()["sessions_available"])


def page_command(program: str) -> list[str]:
    """What stands behind a program on the page."""
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"    {program} ")]
    return shlex.split(line.removeprefix(f"    {program} "))


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Iterator[Pair]:
    redis = RedisServer(tmp_path_factory.mktemp("redis"), page_command("redis-server"))
    servers = [Server(tmp_path_factory.mktemp(name), "continuous") for name in ("answering", "refusing")]
    for server in servers:
        write_checkpoint(server.folder, tokenizer, context_length=CONTEXT_LENGTH)
    pair = Pair(*servers, redis)
    pair.refusing.environment |= {"NEUROQ_SESSION_STORE": redis.url, "NEUROQ_SESSION_STORE_AWAY": "refuse"}
    option, address = page_command("./neuroq serve")
    assert address.replace("6379", str(redis.port)) == redis.url
    try:
        redis.start()
        with ThreadPoolExecutor(2) as pool:
            started = [pool.submit(pair.answering.start, option, redis.url), pool.submit(pair.refusing.start)]
        for each in started:
            each.result()
        yield pair
    finally:
        for server in servers:
            server.stop()
        redis.close()


@pytest.fixture(autouse=True)
def with_redis(pair: Pair) -> Iterator[None]:
    """Whatever a test does to Redis, the next one finds it there."""
    yield
    pair.redis.stop()
    pair.redis.start()
    pair.wait_until_back()


def ask(server: Server, prompt: str, session_id: str, max_length: int = 2) -> httpx.Response:
    return server.post({"prompt": prompt, "session_id": session_id, "max_length": max_length, "seed": 1})


def test_one_conversation_goes_on_at_either_server_in_turns(pair: Pair) -> None:
    tokens = []
    for turn in range(6):
        server = pair.refusing if turn % 2 else pair.answering
        tokens.append(ask(server, f"{turn}", "alternate").json()["usage"]["prompt_tokens"])
    assert tokens == sorted(set(tokens))  # each saw the turns of all before it
    assert [turn for turn in pair.turns("alternate") if "user" in turn] == [
        f'["user", "{i}"]' for i in range(6)
    ]
    cleared = pair.refusing.post({"action": "clear_session", "session_id": "alternate"})
    assert cleared.json()["status"] == "success"
    assert ask(pair.answering, "0", "alternate").json()["usage"]["prompt_tokens"] == tokens[0]


def test_both_servers_at_once_answer_one_after_the_other_and_lose_nothing(pair: Pair) -> None:
    servers = [pair.answering, pair.refusing] * 4
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(ask, servers, [f"q{i}" for i in range(8)], ["queue"] * 8))
    assert len({reply.json()["usage"]["prompt_tokens"] for reply in replies}) == 8
    assert sum("user" in turn for turn in pair.turns("queue")) == 8


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_redis_stopped_under_load_and_started_again_loses_no_acknowledged_turn(
    pair: Pair, how: signal.Signals
) -> None:
    """Every reply with status 200 is in its conversation afterwards; the others said why they failed."""
    over = Event()

    def talk(server: Server, name: str) -> list[tuple[str, httpx.Response]]:
        replies = []
        for number in count():
            if over.is_set():
                return replies
            session_id = f"{how.name}-{name}-{number // 10}"  # short enough to be kept whole
            replies.append((session_id, ask(server, f"q{number}", session_id)))
        raise AssertionError

    with ThreadPoolExecutor(4) as pool:
        places = [(pair.answering, "a"), (pair.answering, "b"), (pair.refusing, "c"), (pair.refusing, "d")]
        talks = [pool.submit(talk, *place) for place in places]
        time.sleep(1.5)
        pair.redis.stop(how)
        time.sleep(1.5)
        pair.redis.start()
        pair.wait_until_back()
        time.sleep(1)
        over.set()
        replies = [each for talk in talks for each in talk.result()]
    assert {reply.status_code for _, reply in replies} == {200, 503}
    assert {r.json()["code"] for _, r in replies if r.status_code == 503} == {"sessions_unavailable"}
    for session_id in {name for name, _ in replies}:
        kept = pair.turns(session_id)
        for name, reply in replies:
            if name == session_id and reply.status_code == 200:
                assert f'["user", "{reply.json()["prompt"]}"]' in kept


def test_while_redis_is_away_each_server_does_as_it_is_told(pair: Pair) -> None:
    assert ask(pair.answering, "はい", "before").status_code == 200
    pair.redis.stop(signal.SIGKILL)
    for server in (pair.answering, pair.refusing):
        wait_for(lambda server=server: not server.post({"action": "status"}).json()["sessions_available"])
        assert server.post({"action": "health"}).status_code == 200
        for body in (
            {"prompt": "はい", "session_id": "before"},
            {"action": "clear_session", "session_id": "x"},
        ):
            refused = server.post(body)
            assert refused.status_code == 503, refused.text
            assert refused.json() == {
                "status": "error",
                "code": "sessions_unavailable",
                "error": "conversations are not available, try again later",
            }
    served = pair.answering.command("client", "serve", check=False)
    assert served.returncode == 1
    assert "conversations are not available" in served.stderr
    plain = {"prompt": "はい", "max_length": 2}
    chat = {"model": "neuroq", "max_tokens": 2, "messages": [{"role": "user", "content": "はい"}]}
    reply = pair.answering.post(plain)
    assert (reply.status_code, reply.json()["session_id"]) == (200, None)
    assert pair.answering.post(chat, "1.0/v1/chat/completions").status_code == 200
    assert pair.answering.stream("はい", max_length=2)[-1]["session_id"] is None
    assert pair.refusing.post(plain).json()["code"] == "sessions_unavailable"
    refused = pair.refusing.post(chat, "1.0/v1/chat/completions")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "sessions_unavailable")
