"""What is done with one of RunPod's jobs: `{"id": …, "input": …}`, where `input` is the server's own.

RunPod calls a generator: each item becomes an element of the job's `output` and of its stream; an item with
`error` makes the job FAILED, and of that item RunPod keeps the text of `error` only.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

from client.api import NeuroQError
from deploy.runpod.torchserve import TorchServe
from deploy.runpod.whole_reply import wants_whole_reply, whole_reply

Item = dict[str, Any]
CANCELLED = NeuroQError("cancelled", "the job was cancelled")
INTERNAL = NeuroQError("internal", "the worker failed on this job; its log says why")


class Worker:
    """Takes jobs to the server, any number at the same time, each in a task that ends when its job does."""

    def __init__(self, server: TorchServe) -> None:
        self._server = server
        self._readers: dict[str, asyncio.Task[None]] = {}  # by the job's id

    async def handle(self, job: Item) -> AsyncIterator[Item]:
        """Give what the server answers: a stream's events, or one reply; an error is an item, too."""
        items: asyncio.Queue[Item | None] = asyncio.Queue()
        reader = asyncio.create_task(self._read(job["input"], items))
        self._readers[job["id"]] = reader
        reader.add_done_callback(lambda _: self._readers.pop(job["id"], None))
        reader.add_done_callback(lambda _: items.put_nowait(None))
        _end_with_current_task(reader)
        while (item := await items.get()) is not None:
            yield item
        if reader.cancelled():
            yield failure(CANCELLED)

    def cancel(self, job_id: str) -> bool:
        """End a job: the server stops generating for it. Tells whether there was one to end."""
        reader = self._readers.get(job_id)
        return reader is not None and reader.cancel()

    async def _read(self, request: object, items: asyncio.Queue[Item | None]) -> None:
        try:
            async for answer in self._answers(request):
                items.put_nowait(answer)
        except NeuroQError as error:
            items.put_nowait(failure(error))
        except Exception:
            logging.exception("a job failed")
            items.put_nowait(failure(INTERNAL))

    async def _answers(self, request: object) -> AsyncIterator[Item]:
        if wants_whole_reply(request):
            streamed = {**request, "stream": True}
            yield whole_reply(request, [event async for event in self._server.answers(streamed)])
        else:
            async for answer in self._server.answers(request):
                yield answer


def failure(error: NeuroQError) -> Item:
    """Return an error as RunPod takes it: the server's own error body, as JSON text."""
    body = {"status": "error", "code": error.code, "error": error.message, **error.details}
    return {"error": json.dumps(body, ensure_ascii=False)}


def _end_with_current_task(reader: asyncio.Task[None]) -> None:
    """RunPod cancels a job's task wherever it is, also while it sends a piece and nobody listens here."""
    task = asyncio.current_task()
    assert task is not None
    task.add_done_callback(lambda _: reader.cancel())
