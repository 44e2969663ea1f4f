"""A seed's text is the same alone, in any company, streamed or not, over every path, in both profiles."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import httpx
import pytest

from tests.bad_requests import BAD_REQUESTS
from tests.e2e.conftest import Server, events
from tests.e2e.grpc_calls import Grpc

pytestmark = [pytest.mark.e2e, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
NUM_REQUESTS, NUM_ROUNDS = 24, 4
PROMPTS = ("はい", "こんにちは、元気ですか", "質問があります。空はなぜ青いのですか", "𩸽を食べる", "x" * 40)


def draw(source: random.Random, number: int) -> dict[str, Any]:
    """A request that every path understands; the temperature is exact, as on OpenAI's."""
    temperature = source.choice([0.0, 0.3, 0.8, 1.2, 2.0])
    return {
        "prompt": source.choice(PROMPTS),
        "max_length": source.choice([1, 3, 9, 30, 90]),
        "temp_min": temperature,
        "temp_max": temperature,
        "top_k": source.choice([0, 1, 5, 40]),
        "top_p": source.choice([0.5, 0.9, 1.0]),
        "repetition_penalty": source.choice([1.0, 1.2]),
        "seed": number,
        "stop": source.choice([[], ["。"], ["です", "ます"]]),
    }


def over_openai(body: dict[str, Any]) -> dict[str, Any]:
    renamed = {"max_length": "max_tokens", "temp_min": "temperature"}
    fields = {renamed.get(name, name): value for name, value in body.items() if name != "temp_max"}
    return {**fields, "model": "neuroq"}


class Paths:
    """Every way of asking one server for a text."""

    def __init__(self, server: Server, grpc: Grpc) -> None:
        self._server, self._grpc = server, grpc
        self.all: list[Callable[[dict[str, Any], str], str]] = [
            self.rest, self.rest_stream, self.several, self.over_grpc, self.completion, self.chat_stream
        ]  # fmt: skip
        if server.profile == "workers":
            self.all.append(self.grpc_stream)

    def rest(self, body: dict[str, Any], session: str) -> str:
        return str(self._server.generate(**body, session_id=session)["generated"])

    def rest_stream(self, body: dict[str, Any], session: str) -> str:
        *pieces, _ = self._server.stream(**body, session_id=session)
        return "".join(piece["delta"] for piece in pieces)

    def several(self, body: dict[str, Any], session: str) -> str:
        """The second of two: its seed is the first's and one."""
        earlier = {**body, "seed": body["seed"] - 1, "n": 2}
        return str(self._server.generate(**earlier, session_id=session)["choices"][1]["generated"])

    def over_grpc(self, body: dict[str, Any], session: str) -> str:
        return str(self._grpc.predict({**body, "session_id": session})["generated"])

    def grpc_stream(self, body: dict[str, Any], session: str) -> str:
        *pieces, _ = self._grpc.stream({**body, "session_id": session, "stream": True})
        return "".join(piece["delta"] for piece in pieces)

    def completion(self, body: dict[str, Any], _: str) -> str:
        return str(self._openai("completions", over_openai(body)).json()["choices"][0]["text"])

    def chat_stream(self, body: dict[str, Any], _: str) -> str:
        said = over_openai(body)
        said["messages"] = [{"role": "user", "content": said.pop("prompt")}]
        *chunks, done = events(self._openai("chat/completions", {**said, "stream": True}))
        assert done == "[DONE]"
        return "".join(json.loads(chunk)["choices"][0]["delta"].get("content", "") for chunk in chunks)

    def _openai(self, path: str, body: dict[str, Any]) -> Any:
        reply = self._server.post(body, version=f"1.0/v1/{path}")
        assert reply.status_code == 200, reply.text
        return reply


@pytest.fixture
def grpcs(
    continuous: Server, workers: Server, stubs: Callable[[str], ModuleType]
) -> Iterator[dict[Server, Grpc]]:
    calls = {server: Grpc(server, stubs) for server in (continuous, workers)}
    yield calls
    for grpc in calls.values():
        grpc.close()


def test_a_seeds_text_is_the_same_everywhere(continuous: Server, grpcs: dict[Server, Grpc]) -> None:
    """Alone on one server first; then mixtures of all of them at once, over random paths of both servers."""
    source = random.Random(20260101)
    bodies = [draw(source, number + 1) for number in range(NUM_REQUESTS)]
    alone = [
        continuous.generate(**body, session_id=f"equal-{i}")["generated"] for i, body in enumerate(bodies)
    ]
    assert len(set(alone)) > NUM_REQUESTS // 2
    paths = [path for server, grpc in grpcs.items() for path in Paths(server, grpc).all]
    used = set()
    with ThreadPoolExecutor(NUM_REQUESTS) as pool:
        for attempt in range(NUM_ROUNDS):
            chosen = [source.choice(paths) for _ in bodies]
            sessions = [f"equal-{attempt}-{number}" for number in range(NUM_REQUESTS)]
            texts = list(pool.map(lambda path, body, session: path(body, session), chosen, bodies, sessions))
            for path, body, text, expected in zip(chosen, bodies, texts, alone, strict=True):
                assert text == expected, (path, body)
            used |= set(chosen)
    assert len(used) > len(paths) - 2


def make_trouble(server: Server, grpc: Grpc, number: int) -> str:
    """One thing that clients do wrong; returns what came of it."""
    kind = number % 5
    if kind == 0:
        body, code, _ = BAD_REQUESTS[number % len(BAD_REQUESTS)]
        reply = server.post(body)
        return "refused" if (reply.status_code, reply.json()["code"]) == (400, code) else reply.text
    if kind == 1:
        return "refused" if grpc.predict(b"not json")["status"] == "error" else "taken"
    body = {
        "prompt": "はい",
        "max_length": 400,
        "temperature": 2.0,
        "top_k": 0,
        "session_id": f"trouble-{number}",
    }
    if kind == 2:  # leaves in the middle of a stream
        with (
            server.client() as client,
            client.stream("POST", server.url, json={**body, "stream": True}) as reply,
        ):
            return "left" if "delta" in next(events(reply)) else "silent"
    if kind == 3:  # leaves before a whole reply
        with server.client() as client, contextlib.suppress(httpx.ReadTimeout):
            client.post(server.url, json=body, timeout=0.01)
        return "left"
    reply = server.post({**body, "messages": [], "model": "neuroq"}, version="1.0/v1/chat/completions")
    return "refused" if reply.status_code == 400 and "error" in reply.json() else reply.text


def test_trouble_changes_no_other_answer(server: Server, grpcs: dict[Server, Grpc]) -> None:
    source = random.Random(7)
    bodies = [draw(source, 100 + number) for number in range(NUM_REQUESTS)]
    alone = [server.generate(**body, session_id=f"calm-{i}")["generated"] for i, body in enumerate(bodies)]
    paths = Paths(server, grpcs[server]).all
    workers = server.ready_workers()
    with ThreadPoolExecutor(NUM_REQUESTS) as pool:
        trouble = [pool.submit(make_trouble, server, grpcs[server], number) for number in range(60)]
        texts = [pool.submit(paths[i % len(paths)], body, f"troubled-{i}") for i, body in enumerate(bodies)]
        assert [text.result() for text in texts] == alone
        assert {each.result() for each in trouble} == {"refused", "left"}
    server.wait_until_idle()
    assert server.ready_workers() == workers
