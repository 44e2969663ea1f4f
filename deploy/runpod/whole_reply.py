"""The reply of `generate` without streaming, put together from a stream.

TorchServe notices that a client is gone only while it streams to it. So a job that RunPod may cancel is
always streamed here, and one that did not ask for a stream gets the same reply as from the server itself.
"""

from collections.abc import Iterable, Sequence
from typing import Any, TypeGuard


def wants_whole_reply(request: object) -> TypeGuard[dict[str, Any]]:
    """Tell whether this input asks for a text and no stream. What is malformed the server refuses."""
    return (
        isinstance(request, dict)
        and request.get("action", "generate") == "generate"
        and request.get("stream", False) is False
    )


def whole_reply(request: dict[str, Any], events: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the reply to an accepted request from all events of its stream."""
    *pieces, end = events
    has_logprobs = request.get("logprobs") is not None and request["logprobs"] is not False
    texts = [
        _text([piece for piece in pieces if piece.get("index", 0) == index], has_logprobs=has_logprobs)
        for index in range(len(end.get("choices", [end])))
    ]
    reply = {"status": "success", "prompt": request["prompt"], **texts[0], **end}
    if "choices" in end:
        reply["choices"] = [{**choice, **text} for choice, text in zip(end["choices"], texts, strict=True)]
    return reply


def _text(pieces: Iterable[dict[str, Any]], *, has_logprobs: bool) -> dict[str, Any]:
    text: dict[str, Any] = {"generated": "".join(piece["delta"] for piece in pieces)}
    if has_logprobs:
        text["logprobs"] = [entry for piece in pieces for entry in piece["logprobs"]]
    return text
