"""Conversations across workers, restarts and the management of their memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.conftest import Server

pytestmark = pytest.mark.e2e


def test_a_session_goes_on_at_another_worker(workers: Server) -> None:
    """Each turn adds to the prompt, whichever of the two workers answers it."""
    assert len(workers.ready_workers()) >= 2
    answered_by: set[str] = set()
    tokens = [0]
    for turn in range(12):
        reply = workers.post({"prompt": f"{turn}", "session_id": "wandering", "max_length": 2, "seed": 1})
        answered_by.add(reply.headers["x-neuroq-worker"])
        tokens.append(reply.json()["usage"]["prompt_tokens"])
        keep_one_busy = {"prompt": "x", "max_length": 60, "session_id": f"busy-{turn}", "seed": turn}
        with ThreadPoolExecutor(1) as pool:  # so that TorchServe hands the next turn to the other worker
            busy = pool.submit(workers.generate, **keep_one_busy)
            reply = workers.post({"prompt": "y", "session_id": "wandering", "max_length": 2, "seed": 1})
            answered_by.add(reply.headers["x-neuroq-worker"])
            tokens.append(reply.json()["usage"]["prompt_tokens"])
            busy.result()
        if len(answered_by) > 1 and turn > 3:
            break
    assert len(answered_by) > 1
    assert tokens == sorted(tokens)
    assert len(set(tokens[:6])) == 6


def test_requests_of_one_session_queue_up_over_the_workers(server: Server) -> None:
    with ThreadPoolExecutor(6) as pool:
        futures = [
            pool.submit(server.generate, "はい", session_id="queue", max_length=3, seed=1) for _ in range(6)
        ]
        tokens = sorted(future.result()["usage"]["prompt_tokens"] for future in futures)
    assert len(set(tokens)) == 6  # each saw the turns of all before it


def test_clear_session_forgets(server: Server) -> None:
    first = server.generate("はい", session_id="clear", max_length=3, seed=1)
    second = server.generate("はい", session_id="clear", max_length=3, seed=1)
    assert second["usage"]["prompt_tokens"] > first["usage"]["prompt_tokens"]
    assert server.post({"action": "clear_session", "session_id": "clear"}).json()["status"] == "success"
    third = server.generate("はい", session_id="clear", max_length=3, seed=1)
    for reply in (first, third):  # how much a worker's cache still held is no part of the conversation
        del reply["usage"]["prompt_tokens_details"]
    assert third == first


def test_without_a_session_id_the_default_conversation_goes_on(server: Server) -> None:
    server.post({"action": "clear_session"})
    first = server.generate("はい", max_length=3)
    second = server.generate("はい", max_length=3)
    assert first["session_id"] == second["session_id"] == "default"
    assert second["usage"]["prompt_tokens"] > first["usage"]["prompt_tokens"]


def test_a_session_survives_a_restart(own_server: Server) -> None:
    first = own_server.generate("犬を飼っています", session_id="a", max_length=5, seed=1)
    own_server.stop()
    assert own_server.command("client", "status", "--json", check=False).returncode == 3
    own_server.start()
    second = own_server.generate("名前は？", session_id="a", max_length=5, seed=1)
    assert second["usage"]["prompt_tokens"] > first["usage"]["prompt_tokens"]
