"""How answers go back to TorchServe: its worker protocol is read here as its front end reads it."""

from __future__ import annotations

import json
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from handler.replies import Reply, StreamPart, merge
from handler.streams import Caller

with warnings.catch_warnings():
    warnings.simplefilter("ignore", ResourceWarning)  # importing TorchServe leaves a file open
    from ts.context import Context, RequestProcessor
    from ts.protocol.otf_message_handler import create_predict_response

    from handler.outbox import Outbox

pytestmark = pytest.mark.unit
REST = {"Host": "x", "url_path": "", "body": {"content-type": "application/json"}}
GRPC = {"data": {"content-type": ""}}
PART, END = (
    StreamPart(({"delta": "あ"}, {"delta": "い"}), False),
    StreamPart(({"finish_reason": "stop"},), True),
)
WHOLE = Reply(200, {"generated": "あ"})


@pytest.mark.parametrize(
    ("properties", "item", "continuous", "expected"),
    [
        (REST, {}, True, Caller(is_rest=True, can_stream=True, path="")),
        (REST, {"stream": b"x"}, False, Caller(is_rest=True, can_stream=True, path="")),
        ({"host": "x"}, {}, True, Caller(is_rest=True, can_stream=True, path="")),
        (
            {**REST, "url_path": "v1/models/"},
            {},
            True,
            Caller(is_rest=True, can_stream=True, path="v1/models"),
        ),
        (GRPC, {"data": b""}, False, Caller(is_rest=False, can_stream=False, path="")),
        (GRPC, {"stream": b"true"}, False, Caller(is_rest=False, can_stream=False, path="")),
        (GRPC, {"stream": b"StreamPredictions"}, False, Caller(is_rest=False, can_stream=True, path="")),
        (
            GRPC,
            {"stream": bytearray(b"StreamPredictions")},
            False,
            Caller(is_rest=False, can_stream=True, path=""),
        ),
        (GRPC, {"stream": b"StreamPredictions"}, True, Caller(is_rest=False, can_stream=False, path="")),
        ({**GRPC, "ts_request_sequence_id": "1"}, {}, True, Caller(is_rest=False, can_stream=False, path="")),
        # input names of a gRPC call are the caller's choice; they carry a content type, not a header's text
        ({"url_path": {"content-type": ""}}, {}, True, Caller(is_rest=False, can_stream=False, path="")),
    ],
)
def test_who_can_stream(
    properties: dict[str, Any], item: dict[str, Any], continuous: bool, expected: Caller
) -> None:
    assert Caller.of(properties, item, continuous=continuous) == expected


@dataclass
class Response:
    """One row of a worker's message."""

    request_id: str
    status: int
    headers: dict[str, str]
    body: str

    @property
    def next(self) -> str | None:
        return self.headers.get("ts_stream_next")


def read_messages(data: bytes) -> Iterator[list[Response]]:
    """The worker protocol, as ModelResponseDecoder.java reads it."""
    at = 0

    def number() -> int:
        nonlocal at
        at += 4
        return int(struct.unpack("!i", data[at - 4 : at])[0])

    def text(length: int) -> str:
        nonlocal at
        at += length
        return data[at - length : at].decode()

    while at < len(data):
        assert number() == 200
        text(number())
        rows = []
        while (length := number()) != -1:
            request_id, _, status, _ = text(length), text(number()), number(), text(number())
            headers = {text(number()): text(number()) for _ in range(number())}
            rows.append(Response(request_id, status, headers, text(number())))
        yield rows


class Wire(bytearray):
    """Stands for the socket to the front end."""

    sendall = bytearray.extend


class Worker:
    """The part of TorchServe's worker around the handler."""

    def __init__(self, *callers: Caller) -> None:
        self.ids = [f"id-{row}" for row in range(len(callers))]
        self.outbox = Outbox({"X-Test": "yes"})
        for request_id, caller in zip(self.ids, callers, strict=True):
            self.outbox.open(request_id, caller)
        self.context = Context("m", "d", {}, 1, None, "0", model_yaml_config={})

    def call(self, *answers: Any, parts: dict[int, StreamPart] | None = None) -> list[list[Response]]:
        """One call of `handle`: parts sent on the way, then what it returns."""
        self.context.request_ids = dict(enumerate(self.ids))
        self.context.cl_socket = wire = Wire()
        self.context.request_processor = [RequestProcessor({}) for _ in self.ids]
        self.outbox.send_parts(self.context, parts or {})
        outputs = self.outbox.write(self.context, list(answers))
        ids = self.context.request_ids
        wire.sendall(create_predict_response(outputs, ids, "ok", 200, context=self.context))
        return list(read_messages(bytes(wire)))


REST_CALLER = Caller(is_rest=True, can_stream=True, path="")
UNARY, STREAMING = (Caller(is_rest=False, can_stream=can, path="") for can in (False, True))


def test_continuous_batching_hides_rows_without_news_and_begins_no_stream_with_its_end() -> None:
    worker = Worker(REST_CALLER, REST_CALLER, REST_CALLER, UNARY)
    [[whole, part]] = worker.call(WHOLE, PART, None, None)
    assert (whole.request_id, whole.status, whole.next) == ("id-0", 200, None)
    assert whole.headers["content-type"] == "application/json"
    assert json.loads(whole.body) == {"generated": "あ"}
    assert whole.headers["X-Test"] == "yes"
    assert (part.request_id, part.next) == ("id-1", "true")
    assert part.body == 'data: {"delta": "あ"}\n\ndata: {"delta": "い"}\n\n'
    assert part.headers["content-type"] == "text/event-stream"
    worker.ids = worker.ids[1:]
    [[end, at_once, grpc]] = worker.call(END, StreamPart((*PART.events, *END.events), True), WHOLE)
    assert (end.next, at_once.next, grpc.next) == ("false", None, "false")
    assert at_once.headers["content-type"] == "text/event-stream"
    assert at_once.body.endswith(end.body)
    assert not any(worker.outbox.knows(f"id-{row}") for row in range(4))


def test_an_error_keeps_its_status_until_the_stream_has_begun() -> None:
    worker = Worker(REST_CALLER, REST_CALLER)
    refusal = Reply(503, {"code": "overloaded"})
    [[refused, _]] = worker.call(refusal, PART)
    assert (refused.status, refused.next) == (503, None)
    worker.ids = worker.ids[1:]
    [[event]] = worker.call(refusal)
    assert (event.status, event.next, event.body) == (200, "false", 'data: {"code": "overloaded"}\n\n')


def test_plain_batching_sends_parts_before_and_every_end_with_the_batch() -> None:
    """Each message before the last has only rows that go on: TorchServe would take it for the last else."""
    worker = Worker(REST_CALLER, UNARY, STREAMING, REST_CALLER)
    first, second, last = worker.call(END, WHOLE, END, WHOLE, parts={0: PART, 2: PART})
    assert [(r.request_id, r.next, r.body) for r in first] == [
        ("id-0", "true", 'data: {"delta": "あ"}\n\ndata: {"delta": "い"}\n\n'),
        ("id-2", "true", '{"delta": "あ"}'),
    ]
    assert [(r.request_id, r.next, r.body) for r in second] == [("id-2", "true", '{"delta": "い"}')]
    assert [(r.request_id, r.next) for r in last] == [
        ("id-0", "false"), ("id-1", "false"), ("id-2", "false"), ("id-3", None)
    ]  # fmt: skip
    assert last[2].body == '{"finish_reason": "stop"}'


def test_a_text_that_is_no_unicode_does_not_end_the_worker() -> None:
    [[row]] = Worker(REST_CALLER).call(Reply(400, {"error": "unknown \ud800"}))
    assert json.loads(row.body) == {"error": "unknown ?"}


def test_what_is_split_and_merged() -> None:
    assert WHOLE.split() == (None, WHOLE)
    assert PART.split() == (PART, None)
    assert END.split() == (None, END)
    both = merge(PART, END)
    assert both == StreamPart((*PART.events, *END.events), True)
    assert both.split() == (PART, END)
    assert merge(PART, Reply(500, {"code": "internal"})).is_last
