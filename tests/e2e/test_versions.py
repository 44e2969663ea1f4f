"""Versions and workers through the management API, while a client keeps asking."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from model.tokenizer import Tokenizer
from tests.e2e.conftest import Server

pytestmark = pytest.mark.e2e


@contextmanager
def asking(server: Server) -> Iterator[list[tuple[int, str]]]:
    """Ask without a pause from two clients; the list holds each reply's status and version."""
    replies: list[tuple[int, str]] = []
    done = threading.Event()

    def ask(name: str) -> None:
        with server.client() as client:
            while not done.is_set():
                body = {"prompt": "こんにちは", "session_id": name, "max_length": 10}
                reply = client.post(server.url, json=body)
                version = reply.json().get("model_version", reply.text)
                replies.append((reply.status_code, version))

    threads = [threading.Thread(target=ask, args=(f"asking-{i}",)) for i in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield replies
    finally:
        done.set()
        for thread in threads:
            thread.join()


def manage(server: Server, method: str, path: str, **query: object) -> httpx.Response:
    url = f"{server.management_url}{path}"
    with httpx.Client(trust_env=False, timeout=120) as client:
        return client.request(method, url, params=query, headers=server.management)  # type: ignore[arg-type]


def wait_until_idle(server: Server, version: str) -> None:
    """TorchServe does not drain on DELETE: nothing may be in flight."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        pending = server.describe(version)["jobQueueStatus"]["pendingRequests"]
        status = server.post({"action": "status"}, version=version).json()
        if pending == 0 and status["requests_running"] + status["requests_waiting"] == 0:
            return
        time.sleep(0.1)
    raise AssertionError("the old version is still busy")


def test_a_new_version_takes_over_without_a_failed_request(server: Server, tokenizer: Tokenizer) -> None:
    archive = server.package("2.0", seed=7, tokenizer=tokenizer)
    assert server.describe()["modelVersion"] == "1.0"
    body = {"prompt": "こんにちは", "seed": 4, "temperature": 1.0, "max_length": 30}
    with asking(server) as replies:
        time.sleep(1)
        registered = manage(server, "POST", "", url=archive, initial_workers=1, synchronous="true")
        assert registered.status_code == 200, registered.text
        assert manage(server, "POST", "", url=archive).status_code == 409
        old, new = (server.post({**body, "session_id": v}, version=v).json() for v in ("1.0", "2.0"))
        assert (old["model_version"], new["model_version"]) == ("1.0", "2.0")
        assert old["generated"] != new["generated"]

        assert manage(server, "PUT", "/neuroq/2.0/set-default").status_code == 200
        assert server.describe()["modelVersion"] == "2.0"
        time.sleep(1)
        wait_until_idle(server, "1.0")
        assert manage(server, "DELETE", "/neuroq/1.0").status_code == 200
        time.sleep(1)
    assert {status for status, _ in replies} == {200}, [r for r in replies if r[0] != 200][:3]
    assert [version for _, version in replies][-1] == "2.0"
    assert {version for _, version in replies} == {"1.0", "2.0"}
    assert server.post(body, version="1.0").status_code == 404

    # as it was, for the other tests
    manage(server, "POST", "", url="neuroq.mar", initial_workers=2 if server.profile == "workers" else 1,
           synchronous="true")  # fmt: skip
    manage(server, "PUT", "/neuroq/1.0/set-default")
    wait_until_idle(server, "2.0")
    assert manage(server, "DELETE", "/neuroq/2.0").status_code == 200


def test_the_workers_profile_scales(workers: Server) -> None:
    """Up while clients ask. Down when they pause: TorchServe kills a worker with what it is answering."""
    with asking(workers) as replies:
        scaled = manage(workers, "PUT", "/neuroq", min_worker=3, max_worker=3, synchronous="true")
        assert scaled.status_code == 200, scaled.text
        assert len(workers.ready_workers()) == 3
        time.sleep(1)
    failed = [reply for reply in replies if reply[0] != 200]
    assert not failed, (len(failed), len(replies), failed[:3])
    scaled = manage(workers, "PUT", "/neuroq", min_worker=2, max_worker=2, synchronous="true")
    assert scaled.status_code == 200, scaled.text
    assert len(workers.ready_workers()) == 2
    assert workers.generate("はい", session_id="after", max_length=2)["status"] == "success"


def test_a_second_worker_of_the_continuous_profile_is_harmless(continuous: Server) -> None:
    first = continuous.ready_workers()
    with asking(continuous) as replies:
        manage(continuous, "PUT", "/neuroq", min_worker=2, max_worker=2)
        time.sleep(10)
        before = len(replies)
        time.sleep(5)
        assert len(replies) > before + 10  # nobody hangs
        assert continuous.ready_workers() == first
        assert manage(continuous, "PUT", "/neuroq", min_worker=1, max_worker=1, synchronous="true").is_success
    assert continuous.ready_workers() == first
    assert {status for status, _ in replies} == {200}


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1:9/neuroq.mar",
        "http://127.0.0.1:9/neuroq.mar",
        "file:///etc/passwd",
        "file:///tmp/neuroq.mar",
        "s3://bucket/neuroq.mar",
        "gs://bucket/neuroq.mar",
        "../neuroq.mar",
        "/tmp",
        "..",
        "model_store",
    ],
)
def test_only_archives_of_the_model_store_can_be_registered(continuous: Server, url: str) -> None:
    reply = manage(continuous, "POST", "", url=url, model_name="intruder")
    assert reply.status_code >= 400, reply.text
    models = httpx.get(continuous.management_url, headers=continuous.management, trust_env=False).json()
    assert [model["modelName"] for model in models["models"]] == ["neuroq"]


def test_the_management_api_wants_its_own_key(continuous: Server) -> None:
    with continuous.client() as client:  # the inference token
        assert client.get(continuous.management_url).status_code in (400, 403)
