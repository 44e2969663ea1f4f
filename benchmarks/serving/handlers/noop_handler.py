"""A handler in continuous batching that computes nothing: what is left of the wall time is TorchServe's own.

Its configuration is NeuroQ's: a request takes as many steps, and gets a reply of about the same size, as if
the engine decoded `handler.tokens_per_step` tokens a step. The action health is answered at once.
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from ts.torch_handler.base_handler import BaseHandler

_BYTES_PER_TOKEN = 6  # of Japanese text
_HEALTHY = json.dumps({"status": "healthy"})


class NoopHandler(BaseHandler):  # type: ignore[misc]  # TorchServe has no type hints
    """Counts steps. (The only class here: TorchServe takes no second one.)"""

    def __init__(self) -> None:
        super().__init__()
        self._requests: dict[str, SimpleNamespace] = {}  # num_tokens, is_streamed, num_done
        self._tokens_per_step = 0

    def initialize(self, context: Any) -> None:
        """Read the number of tokens a step."""
        self._tokens_per_step = int(context.model_yaml_config["handler"]["tokens_per_step"])
        self.initialized = True

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[str]:
        """Move every request on by a step."""
        ids = dict(context.request_ids)
        for gone in self._requests.keys() - set(ids.values()):
            del self._requests[gone]
        context.stopping_criteria = [lambda _: None] * len(data)  # None: no stream but one whole response
        return [self._step(ids[row], row, item, context) for row, item in enumerate(data)]

    def _step(self, request_id: str, row: int, item: dict[str, Any], context: Any) -> str:
        if request_id not in self._requests:
            body = _body(item)
            if body.get("action") == "health":
                context.set_response_content_type(row, "application/json")
                return _HEALTHY
            self._requests[request_id] = SimpleNamespace(
                num_tokens=body["max_length"], is_streamed=body.get("stream", False), num_done=0
            )
        request = self._requests[request_id]
        is_first = request.num_done == 0
        request.num_done += self._tokens_per_step
        is_finished = request.num_done >= request.num_tokens
        if is_finished:
            del self._requests[request_id]
        if request.is_streamed and not (is_first and is_finished):
            context.stopping_criteria[row] = lambda _: is_finished
            return f"data: {json.dumps(self._event(request, is_finished))}\n\n"
        if is_finished:
            context.set_response_content_type(row, "application/json")
            return json.dumps(_reply(request.num_tokens))
        context.request_ids.pop(row)  # not done: TorchServe must not see it among this step's replies
        return ""

    def _event(self, request: SimpleNamespace, is_finished: bool) -> dict[str, Any]:
        delta = {"delta": "x" * self._tokens_per_step * _BYTES_PER_TOKEN}
        return {**delta, **_end(request.num_tokens)} if is_finished else delta


def _reply(num_tokens: int) -> dict[str, Any]:
    return {"generated": "x" * num_tokens * _BYTES_PER_TOKEN, **_end(num_tokens)}


def _end(num_tokens: int) -> dict[str, Any]:
    return {"finish_reason": "length", "usage": {"completion_tokens": num_tokens}}


def _body(item: dict[str, Any]) -> dict[str, Any]:
    """The request's object: TorchServe decodes JSON bodies, gRPC brings bytes."""
    body = item["body"] if "body" in item else item["data"]
    body = json.loads(body) if isinstance(body, (bytes, bytearray, str)) else body
    inner: dict[str, Any] = body.get("input", body)
    return inner
