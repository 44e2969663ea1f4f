"""The serving contract over REST, in both profiles."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handler.schema import GenerateRequest, TrainRequest
from tests.bad_requests import BAD_REQUESTS
from tests.e2e.conftest import Server

pytestmark = pytest.mark.e2e


def test_health_in_both_body_forms(server: Server) -> None:
    for body in ({"action": "health"}, {"input": {"action": "health"}}):
        reply = server.post(body)
        assert reply.status_code == 200
        assert reply.headers["content-type"] == "application/json"
        assert reply.json() == {
            "status": "healthy",
            "device": "cpu",
            "cuda_available": False,
            "model_initialized": True,
        }


def test_status_and_headers_tell_the_lineage(server: Server) -> None:
    reply = server.post({"action": "status"})
    body = reply.json()
    assert (body["status"], body["initialized"], body["model_name"]) == ("ok", True, "neuroq")
    assert body["model_version"] == reply.headers["x-neuroq-version"] == "1.0"
    assert body["checkpoint_sha256"].startswith(reply.headers["x-neuroq-checkpoint"])
    assert {"vocab_size", "num_parameters", "config", "trained_at", "sessions"} <= set(body)


def test_generate_by_name_and_by_version(server: Server) -> None:
    parameters = {"prompt": "こんにちは", "seed": 3, "max_length": 12}
    by_name = server.post({"input": {**parameters, "session_id": "by-name"}}).json()
    by_version = server.post({**parameters, "session_id": "by-version"}, version="1.0").json()
    assert by_name["status"] == "success"
    assert by_name["generated"] == by_version["generated"]
    assert by_name["usage"]["completion_tokens"] <= 12


def test_clear_session_and_train(server: Server) -> None:
    assert server.post({"action": "clear_session", "session_id": "nobody"}).json()["status"] == "success"
    refused = server.post({"action": "train", "epochs": 2})
    assert (refused.status_code, refused.json()["code"]) == (403, "train_disabled")


@pytest.mark.parametrize(("body", "code", "words"), BAD_REQUESTS)
def test_bad_requests(server: Server, body: object, code: str, words: tuple[str, ...]) -> None:
    reply = server.post(body)
    assert reply.status_code == 400, reply.text
    answer = reply.json()
    assert (answer["status"], answer["code"]) == ("error", code)
    for word in words:
        assert word in reply.text or word in str(answer), answer


def test_a_prompt_beyond_the_context(server: Server) -> None:
    reply = server.post({"prompt": "長い話" * 300, "session_id": "long"})
    assert (reply.status_code, reply.json()["code"]) == (400, "prompt_too_long")


def test_the_largest_replies_fit_what_torchserve_carries(server: Server) -> None:
    """Beyond its bound it would drop the worker, with all that it is answering."""
    body = {"prompt": "はい", "temperature": 2.0, "top_k": 0, "top_p": 1.0, "session_id": "large"}
    workers = server.ready_workers()
    for shape in ({"n": 8, "max_length": 35, "logprobs": 20}, {"n": 8, "max_length": 512, "logprobs": 0}):
        for stream in (False, True):
            replies = [server.post({**body, **shape, "stream": stream, "seed": seed}) for seed in range(16)]
            assert {reply.status_code for reply in replies} == {200}
            assert max(len(reply.content) for reply in replies) > 200_000  # some end early, by chance
    refused = server.post({**body, "n": 8, "max_length": 512, "logprobs": 20})
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_request")
    assert server.ready_workers() == workers


def test_torchserve_answers_for_itself(server: Server) -> None:
    with server.client() as client:
        assert client.post(server.url.replace("neuroq", "nobody"), json={}).status_code == 404
        assert client.post(f"{server.url}/9.9", json={}).status_code == 404
    body = {"action": "health"}
    assert httpx.post(server.url, json=body, trust_env=False).status_code == 400  # no token
    wrong = {"Authorization": "Bearer wrong"}
    assert httpx.post(server.url, json=body, headers=wrong, trust_env=False).status_code == 400


def test_eight_requests_at_once_give_what_they_give_alone(server: Server) -> None:
    bodies = [
        {
            "prompt": f"質問その{i}です",
            "max_length": 5 + 9 * i,
            "temperature": 0.25 * i,
            "top_k": (40, 5, 0)[i % 3],
            "quantum_noise": i == 5,
            "seed": i,
        }
        for i in range(8)
    ]
    alone = [server.generate(**body, session_id=f"alone-{i}")["generated"] for i, body in enumerate(bodies)]
    with ThreadPoolExecutor(8) as pool:
        futures = [
            pool.submit(server.generate, **body, session_id=f"together-{i}") for i, body in enumerate(bodies)
        ]
        together = [future.result()["generated"] for future in futures]
    assert together == alone
    assert len(set(alone)) > 4  # the requests do differ


def test_both_profiles_and_grpc_speak_alike(continuous: Server, workers: Server) -> None:
    body = {"prompt": "こんにちは", "seed": 11, "temperature": 1.0, "max_length": 40, "session_id": "same"}
    assert continuous.generate(**body)["generated"] == workers.generate(**body)["generated"]


def test_health_does_not_wait_behind_generation(continuous: Server) -> None:
    """Every slot is busy; health still answers long before any of them is done."""
    body = {
        "prompt": "長く",
        "max_length": 1024,
        "temperature": 2.0,
        "top_k": 0,
        "top_p": 1.0,
        "stop": "無い字",
    }
    with ThreadPoolExecutor(40) as pool:
        busy = [pool.submit(continuous.generate, **body, session_id=f"busy-{i}") for i in range(40)]
        time.sleep(0.2)
        assert continuous.post({"action": "health"}).json()["status"] == "healthy"
        still_busy = sum(not future.done() for future in busy)
        assert all(future.result()["status"] == "success" for future in busy)
    assert still_busy > 0


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_NAMES = st.sampled_from(sorted(set(GenerateRequest.model_fields) | set(TrainRequest.model_fields) | {"x"}))
_ACTIONS = st.sampled_from(["health", "status", "generate", "clear_session", "train", "Generate", ""])
_FIELDS = st.dictionaries(_NAMES, _JSON, max_size=5) | st.fixed_dictionaries(
    {"action": _ACTIONS | _JSON, "prompt": st.text(max_size=30) | _JSON}, optional={"max_length": _JSON}
)
_BODIES = st.one_of(
    _FIELDS.map(lambda fields: json.dumps(fields).encode()),
    _FIELDS.map(lambda fields: json.dumps({"input": fields}).encode()),
    _JSON.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=60),
    st.text(max_size=60).map(str.encode),
)


def test_no_generated_input_brings_a_server_error(continuous: Server) -> None:
    with continuous.client() as client:

        @settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(_BODIES, st.sampled_from(["application/json", "text/plain", "application/octet-stream"]))
        def attack(body: bytes, content_type: str) -> None:
            reply = client.post(continuous.url, content=body, headers={"Content-Type": content_type})
            assert reply.status_code < 500, (body, reply.text)
            answer = reply.json()
            assert "Traceback" not in reply.text
            if reply.status_code != 200:
                assert {"status", "code", "error"} <= set(answer), (body, answer)

        attack()
        assert client.post(continuous.url, json={"action": "health"}).json()["status"] == "healthy"


def test_overload_is_refused_and_told(own_server: Server) -> None:
    """More requests than slots, queue and TorchServe's own queue can hold."""
    body = {"prompt": "長く", "max_length": 1024, "temperature": 2.0, "top_k": 0, "top_p": 1.0}
    with own_server.client() as client, ThreadPoolExecutor(100) as pool:

        def ask(number: int) -> httpx.Response:
            return client.post(own_server.url, json={**body, "session_id": f"s{number}"})

        replies = list(pool.map(ask, range(300)))
    statuses = {reply.status_code for reply in replies}
    assert 200 in statuses
    assert statuses <= {200, 503}
    refused = [reply.json() for reply in replies if reply.status_code == 503]
    assert all(answer["code"] in ("overloaded", 503) for answer in refused)


def test_the_worker_comes_back_after_sigkill_and_knows_the_conversation(own_server: Server) -> None:
    first = own_server.generate("犬を飼っています", session_id="a", max_length=5)
    os.kill(own_server.ready_workers()[0], 9)
    deadline = time.monotonic() + 120
    reply: httpx.Response | None = None
    while (reply is None or reply.status_code != 200) and time.monotonic() < deadline:
        # TorchServe may lose a request that comes in the moment in which a worker dies.
        with suppress(httpx.ReadTimeout), own_server.client() as client:
            body = {"prompt": "名前は？", "session_id": "a", "max_length": 5}
            reply = client.post(own_server.url, json=body, timeout=10)
        time.sleep(0.5)
    assert reply is not None
    assert reply.status_code == 200, reply.text
    assert reply.json()["usage"]["prompt_tokens"] > first["usage"]["prompt_tokens"]
