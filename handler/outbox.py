"""Writes answers into TorchServe's context, by the rules of streams.py."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from ts.handler_utils.utils import send_intermediate_predict_response

from handler.replies import Answer, StreamPart
from handler.streams import STREAM_TYPE, Caller, Output, messages, output


class Outbox:
    """Knows how each request in flight came in and whether its stream has begun."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers  # of every response
        self._callers: dict[str, Caller] = {}
        self._begun: set[str] = set()

    def knows(self, request_id: str) -> bool:
        """Return whether a request is in flight."""
        return request_id in self._callers

    def open(self, request_id: str, caller: Caller) -> None:
        """Take note of a new request."""
        self._callers[request_id] = caller

    def close_all_but(self, request_ids: set[str]) -> None:
        """Forget the requests that no longer come."""
        for request_id in self._callers.keys() - request_ids:
            self._close(request_id)

    def write(self, context: Any, answers: list[Answer | None]) -> list[bytes]:
        """Return each row's answer as `handle` returns it; rows without one are hidden for this call."""
        outputs = [b""] * len(answers)
        criteria: list[Any] = [None] * len(answers)
        for row, answer in enumerate(answers):
            if answer is None:
                context.request_ids.pop(row)
                continue
            request_id = context.request_ids[row]
            written = output(self._callers[request_id], answer, has_begun=request_id in self._begun)
            self._describe(context, row, written)
            outputs[row], criteria[row] = written.data, partial(_constant, written.ends_stream)
            if answer.is_last:
                self._close(request_id)
            else:
                self._begun.add(request_id)
        context.stopping_criteria = criteria
        return outputs

    def send_parts(self, context: Any, parts: Mapping[int, StreamPart]) -> None:
        """Send parts of streams, by row, before `handle` returns: in plain batching only.

        A message has room for one piece a row, and a gRPC caller gets each event by itself.
        """
        queues = {row: self._pieces(context.request_ids[row], part) for row, part in parts.items()}
        while queues:
            pieces = {row: queue.pop(0) for row, queue in queues.items()}
            queues = {row: queue for row, queue in queues.items() if queue}
            for row in pieces:
                self._describe(context, row, Output(b"", 200, STREAM_TYPE, ends_stream=False))
            request_ids = {row: context.request_ids[row] for row in pieces}
            self._begun.update(request_ids.values())
            send_intermediate_predict_response(pieces, request_ids, "Prediction success", 200, context)

    def _pieces(self, request_id: str, part: StreamPart) -> list[bytes]:
        caller = self._callers[request_id]
        texts = messages(caller, part.events)
        return [b"".join(texts)] if caller.is_rest else texts

    def _describe(self, context: Any, row: int, written: Output) -> None:
        context.set_response_status(written.status, "", row)
        context.set_response_content_type(row, written.content_type)
        for name, value in self._headers.items():
            context.set_response_header(row, name, value)

    def _close(self, request_id: str) -> None:
        del self._callers[request_id]
        self._begun.discard(request_id)


def _constant(value: bool | None, _: Any) -> bool | None:
    """A stopping criterion that is decided already."""
    return value
