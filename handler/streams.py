"""TorchServe's rules for who can get a stream, and for how whole replies and parts of streams go back.

Over REST a stream is server-sent events. Over gRPC, which TorchServe streams in plain batching only, it is
one message an event; a call gets it when it carries `stream: StreamPredictions` in its input map. That says
which call it is, because nothing else does: a stream that answers the call `Predictions` disables the worker.
Every last reply over gRPC carries ts_stream_next=false: without it, a `StreamPredictions` call that is
answered at once disables the worker too; `Predictions` does not look at it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handler.replies import Answer, Event, Reply

_GRPC_KEY, _GRPC_CALL = "stream", b"StreamPredictions"
STREAM_TYPE = "text/event-stream"
# What TorchServe's front end adds to a REST request, and every HTTP/1.1 client sends.
_REST_HEADERS = frozenset({"url_path", "host"})
# The front end marks each prediction over REST with whether it is to be explained, but only those below
# /predictions with a path: what has no path came by KServe's, /v1/models/NAME:predict.
_KSERVE_HEADER = "explain"
KSERVE_PATH = ":predict"  # KServe's, which is not below /predictions


@dataclass(frozen=True)
class Caller:
    """How one request came in. `path` is what follows /predictions/NAME/VERSION/, or KSERVE_PATH."""

    is_rest: bool
    can_stream: bool
    path: str

    @classmethod
    def of(cls, properties: Mapping[str, Any], item: Mapping[str, Any], *, continuous: bool) -> Caller:
        """Tell from the request's headers (gRPC has none, but a content type for each input) and inputs."""
        headers = {name.lower(): value for name, value in properties.items() if isinstance(value, str)}
        is_rest = bool(_REST_HEADERS & headers.keys())
        asked_over_grpc = not continuous and item.get(_GRPC_KEY) == _GRPC_CALL
        unnamed = KSERVE_PATH if _KSERVE_HEADER in headers else ""
        return cls(is_rest, is_rest or asked_over_grpc, headers.get("url_path", unnamed).strip("/"))


@dataclass(frozen=True)
class Output:
    """What TorchServe is given for one row.

    `ends_stream` is the answer of TorchServe's stopping criterion: False sends a part of a stream, True its
    end, None a whole response. A REST stream must not begin with True: its client would hang without headers.
    """

    data: bytes
    status: int
    content_type: str
    ends_stream: bool | None


def output(caller: Caller, answer: Answer, *, has_begun: bool) -> Output:
    """Return how an answer goes back; `has_begun` tells whether a part of its stream went out before."""
    ends_stream = None if answer.is_last and caller.is_rest and not has_begun else answer.is_last
    if isinstance(answer, Reply) and not has_begun:
        return Output(_json(answer.body), answer.status, "application/json", ends_stream)
    events = (answer.body,) if isinstance(answer, Reply) else answer.events
    return Output(b"".join(messages(caller, events)), 200, STREAM_TYPE, ends_stream)


def messages(caller: Caller, events: tuple[Event, ...]) -> list[bytes]:
    """Return each event as it is written to this caller."""
    texts = [event.encode() if isinstance(event, str) else _json(event) for event in events]
    return [b"data: %b\n\n" % text for text in texts] if caller.is_rest else texts


def _json(value: dict[str, Any]) -> bytes:
    """An error may quote a name that is no Unicode; TorchServe's worker would die of it."""
    return json.dumps(value, ensure_ascii=False).encode(errors="replace")
