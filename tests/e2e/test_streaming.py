"""Streams over REST in both profiles: the same text, in pieces, whatever clients do."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.e2e.conftest import Server, events

pytestmark = pytest.mark.e2e
LONG = {"max_length": 400, "temperature": 2.0, "top_k": 0, "top_p": 1.0}


def test_a_stream_is_the_same_text_in_pieces(server: Server) -> None:
    body = {"seed": 8, "stop": ["無い字"], **LONG}
    whole = server.generate("はい", session_id="whole", **body)
    *pieces, last = server.stream("はい", session_id="stream", **body)
    assert "".join(piece["delta"] for piece in pieces) == whole["generated"]
    assert len(pieces) > 1
    assert {"delta"} == set().union(*pieces)
    for name in ("finish_reason", "seed", "model_version"):
        assert last[name] == whole[name]
    assert last["session_id"] == "stream"
    assert last["usage"]["total_tokens"] == whole["usage"]["total_tokens"]
    assert server.generate("次", session_id="stream", seed=1) | {"session_id": "", "usage": {}} == (
        server.generate("次", session_id="whole", seed=1) | {"session_id": "", "usage": {}}
    )


def test_several_replies_stream_side_by_side(server: Server) -> None:
    body = {"seed": 8, "n": 3, "max_length": 30, "temperature": 1.5, "logprobs": 1}
    whole = server.generate("はい", session_id="several", **body)
    *pieces, last = server.stream("はい", session_id="several stream", **body)
    for index, choice in enumerate(whole["choices"]):
        mine = [piece for piece in pieces if piece["index"] == index]
        assert "".join(piece["delta"] for piece in mine) == choice["generated"]
        assert [entry for piece in mine for entry in piece["logprobs"]] == choice["logprobs"]
        assert last["choices"][index]["finish_reason"] == choice["finish_reason"]


def test_a_stream_that_is_one_step_long_is_a_whole_response(server: Server) -> None:
    whole = server.generate("はい", session_id="one", seed=2, max_length=1)
    *pieces, last = server.stream("はい", session_id="one stream", seed=2, max_length=1)
    assert "".join(piece["delta"] for piece in pieces) == whole["generated"]
    assert last["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]


def test_a_connection_is_good_for_the_next_request_after_a_stream(server: Server) -> None:
    with server.client() as client:
        for turn in range(6):
            body = {
                "prompt": f"{turn}",
                "stream": turn % 2 == 0,
                "session_id": "kept",
                "max_length": 1 + 9 * turn,
            }
            reply = client.post(server.url, json=body)
            assert reply.status_code == 200
            assert reply.headers["connection"] == "keep-alive"
            assert ("generated" in reply.text) == (turn % 2 == 1)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"prompt": "", "stream": True}, 400, "invalid_request"),
        ({"prompt": "x", "stream": True, "max_length": -1}, 400, "invalid_request"),
        ({"prompt": "長い話" * 300, "stream": True}, 400, "prompt_too_long"),
    ],
)
def test_a_refused_stream_has_its_status(
    server: Server, body: dict[str, object], status: int, code: str
) -> None:
    reply = server.post({**body, "session_id": "refused"})
    assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert reply.headers["content-type"] == "application/json"


def test_pieces_arrive_while_the_reply_grows(continuous: Server) -> None:
    with continuous.client() as client:
        body = {"prompt": "はい", "stream": True, "seed": 5, "session_id": "paced", "n": 8, **LONG}
        with client.stream("POST", continuous.url, json=body) as reply:
            arrivals = [time.monotonic() for _ in events(reply)]
    assert arrivals[-1] - arrivals[0] > 0.002  # not all at once at the end


def leave_early(server: Server, number: int) -> bool:
    """Begin a stream and break the connection after its first piece."""
    body = {"prompt": "はい", "stream": True, "session_id": f"leaving-{number}", "n": 2, **LONG}
    with server.client() as client, client.stream("POST", server.url, json=body) as reply:
        return reply.status_code == 200 and "delta" in next(events(reply))


def test_two_hundred_clients_disconnect_and_leave_nothing_behind(continuous: Server) -> None:
    """No row, and no turn in a conversation: only those count that were finished before they left."""
    sessions = continuous.post({"action": "status"}).json()["sessions"]
    with ThreadPoolExecutor(16) as pool:
        begun = sum(pool.map(lambda number: leave_early(continuous, number), range(200)))
    assert begun == 200
    continuous.wait_until_idle(5)
    finished = continuous.post({"action": "status"}).json()["sessions"] - sessions
    assert finished < 150  # the others were in the middle


def test_disconnects_in_the_workers_profile_end_with_their_batch(workers: Server) -> None:
    """TorchServe does not tell a worker in plain batching: the reply is finished, then everything is free."""
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda number: leave_early(workers, number), range(40))) == 40
    workers.wait_until_idle()
    assert len(workers.ready_workers()) >= 2


def test_a_killed_worker_breaks_its_streams_and_comes_back(own_server: Server) -> None:
    """Nobody is left hanging, and no broken stream looks like a finished one."""
    stopped = threading.Event()

    def listen(number: int) -> bool:
        """Listen to streams until one breaks; return whether one did."""
        while not stopped.is_set():
            try:
                assert "finish_reason" in own_server.stream("はい", session_id=f"broken-{number}", **LONG)[-1]
            except (httpx.HTTPError, AssertionError):  # reset, or TorchServe's own error
                return True
        return False

    worker = own_server.ready_workers()[0]
    with ThreadPoolExecutor(8) as pool:
        broken = [pool.submit(listen, number) for number in range(8)]
        time.sleep(1)
        os.kill(worker, signal.SIGSTOP)  # so that it is caught in the middle
        time.sleep(1)
        stopped.set()
        os.kill(worker, signal.SIGKILL)
        assert any(each.result(timeout=60) for each in broken)
    deadline = time.monotonic() + 60
    while own_server.post({"action": "health"}).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    for number in range(8):
        assert own_server.stream("はい", session_id=f"broken-{number}")[-1]["usage"]
