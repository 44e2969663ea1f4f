"""The RunPod worker's parts that need no server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from client.api import NeuroQError
from deploy.runpod.settings import read_concurrency
from deploy.runpod.torchserve import TorchServe, wait_until_ready
from deploy.runpod.whole_reply import wants_whole_reply, whole_reply
from deploy.runpod.worker import Worker
from server.errors import ServerError, SettingsError

pytestmark = pytest.mark.unit
END = {"session_id": "s", "finish_reason": "stop", "usage": {}, "model_version": "1.0", "seed": 7}


@pytest.mark.parametrize(
    ("request_", "wanted"),
    [
        ({"prompt": "x"}, True),
        ({"action": "generate", "prompt": "x", "stream": False}, True),
        ({"prompt": "x", "stream": True}, False),
        ({"prompt": "x", "stream": 0}, False),  # the server's to refuse
        ({"action": "status"}, False),
        ({"action": ["generate"]}, False),
        (["prompt"], False),
    ],
)
def test_only_a_text_without_stream_is_put_together(request_: object, wanted: bool) -> None:
    assert wants_whole_reply(request_) is wanted


def test_pieces_of_several_replies_are_put_together_apart() -> None:
    pieces = [
        {"index": 0, "delta": "こん", "logprobs": [1]},
        {"index": 1, "delta": "や", "logprobs": [2]},
        {"index": 0, "delta": "にちは", "logprobs": [3, 4]},
    ]
    ends = [{"index": i, "finish_reason": "stop", "seed": 7 + i} for i in range(3)]
    reply = whole_reply({"prompt": "はい", "n": 3, "logprobs": 0}, [*pieces, {**END, "choices": ends}])
    assert (reply["status"], reply["prompt"], reply["seed"]) == ("success", "はい", 7)
    assert (reply["generated"], reply["logprobs"]) == ("こんにちは", [1, 3, 4])
    assert [choice["generated"] for choice in reply["choices"]] == ["こんにちは", "や", ""]
    assert [choice["logprobs"] for choice in reply["choices"]] == [[1, 3, 4], [2], []]


def test_a_reply_without_a_piece_is_empty() -> None:
    assert whole_reply({"prompt": "x"}, [END]) == {"status": "success", "prompt": "x", "generated": "", **END}


class Endless(TorchServe):
    """Never stops answering; tells whether it was left."""

    def __init__(self) -> None:
        self.is_left = False

    async def answers(self, request: object) -> AsyncIterator[dict[str, Any]]:
        try:
            while True:
                yield {"delta": "あ"}
                await asyncio.sleep(0)
        finally:
            self.is_left = True


def test_a_job_that_is_cancelled_while_its_piece_is_sent_leaves_the_server() -> None:
    """RunPod cancels the job's task; the generator, which waits at a yield, is told nothing."""

    async def scenario() -> None:
        server = Endless()
        items = Worker(server).handle({"id": "1", "input": {"prompt": "x", "stream": True}})

        async def job() -> None:
            assert await anext(items) == {"delta": "あ"}
            await asyncio.Event().wait()  # the piece is sent for ever

        task = asyncio.create_task(job())
        await asyncio.sleep(0.01)
        assert not server.is_left
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0.01)
        assert server.is_left

    asyncio.run(scenario())


def test_a_cancelled_job_says_so_and_is_forgotten() -> None:
    async def cancelled() -> tuple[list[dict[str, Any]], bool]:
        worker = Worker(Endless())

        async def job() -> list[dict[str, Any]]:
            return [item async for item in worker.handle({"id": "1", "input": {"prompt": "x"}})]

        task = asyncio.create_task(job())
        await asyncio.sleep(0.01)
        assert worker.cancel("1")
        return await task, worker.cancel("1")

    items, is_known = asyncio.run(cancelled())
    assert json.loads(items[-1]["error"])["code"] == "cancelled"
    assert len(items) == 1
    assert not is_known


class Broken(TorchServe):
    """Fails in a way that nobody thought of."""

    def __init__(self) -> None:
        pass

    async def answers(self, request: object) -> AsyncIterator[dict[str, Any]]:
        yield {"choices": 1}


def test_a_fault_of_ours_fails_the_job_and_shows_no_trace(caplog: pytest.LogCaptureFixture) -> None:
    async def ask() -> list[dict[str, Any]]:
        return [item async for item in Worker(Broken()).handle({"id": "1", "input": {"prompt": "x", "n": 2}})]

    (item,) = asyncio.run(ask())
    assert json.loads(item["error"])["code"] == "internal"
    assert "Traceback" not in item["error"]
    assert "Traceback" in caplog.text


def test_without_a_server_a_job_fails_and_the_worker_does_not_start(tmp_path: Path) -> None:
    async def ask() -> None:
        async for _ in TorchServe(tmp_path).answers({"action": "health"}):
            pass

    with pytest.raises(NeuroQError, match="no server runs from"):
        asyncio.run(ask())
    with pytest.raises(ServerError, match="no server that answers runs from"):
        wait_until_ready(tmp_path, 0)


@pytest.mark.parametrize("text", ["0", "-1", "1000", "many", "1.5"])
def test_a_bad_concurrency_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="from 1 to 999"):
        read_concurrency({"NEUROQ_RUNPOD_CONCURRENCY": text})


def test_concurrency() -> None:
    assert read_concurrency({}) == 32
    assert read_concurrency({"NEUROQ_RUNPOD_CONCURRENCY": "4"}) == 4
