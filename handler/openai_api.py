"""OpenAI's shapes: results as its objects, chunks and errors.

Nothing here keeps a conversation: the messages of a request are all that the model is told.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from handler.choices import Choice, Piece
from handler.errors import ApiError
from handler.exchange import Exchange
from handler.generation import Generation
from handler.neuroq_api import logprob_entry
from handler.openai_requests import ChatRequest, CompletionRequest, read
from handler.replies import Event

DONE = "[DONE]"


@dataclass(frozen=True)
class Identity:
    """Who answers: the model's name, the beginning of its checkpoint's digest, when it was trained."""

    model: str
    fingerprint: str
    created_at: int

    def card(self) -> dict[str, Any]:
        """Return the model object."""
        return {"id": self.model, "object": "model", "created": self.created_at, "owned_by": "neuroq"}


def refusal(error: ApiError) -> dict[str, Any]:
    """Return OpenAI's error object."""
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    return {"error": {"message": error.message, "type": kind, "param": error.param, "code": error.code}}


class _OpenaiApi(ABC):
    """Implements Api but for what a choice looks like."""

    _request: ClassVar[type[ChatRequest] | type[CompletionRequest]]
    _id_prefix: ClassVar[str]
    _object: ClassVar[str]
    _chunk_object: ClassVar[str]

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    def parse(self, body: Any) -> Generation:
        """Read a request for this model. Raises ApiError (400, 404)."""
        request = read(self._request, body)
        if request.model != self._identity.model:
            message = f"the model {request.model[:100]!r} does not exist, {self._identity.model!r} does"
            raise ApiError(404, "model_not_found", message, param="model")
        return request.generation()

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """Return the error object."""
        return refusal(error)

    def reply(self, exchange: Exchange) -> dict[str, Any]:
        """Return the completion object."""
        choices = [
            {
                "index": choice.index,
                **self._content(choice.whole),
                "logprobs": self._logprobs(choice.whole, exchange),
                "finish_reason": choice.finish_reason,
            }
            for choice in exchange.choices
        ]
        return {**self._head(exchange, self._object), "choices": choices, "usage": exchange.usage()}

    def event(self, exchange: Exchange, choice: Choice, piece: Piece) -> Event:
        """Return a chunk with a piece of one choice."""
        content = self._delta(piece, is_first=choice.num_pieces == 1)
        return self._chunk(exchange, choice, content, self._logprobs(piece, exchange))

    def last_events(self, exchange: Exchange) -> list[Event]:
        """Return a chunk for each choice's end, one for the usage if asked for, and the sign of the end."""
        events: list[Event] = []
        for choice in exchange.choices:
            content = self._delta(None, is_first=choice.num_pieces == 0)
            events.append(self._chunk(exchange, choice, content, None, choice.finish_reason))
        if exchange.generation.tells_usage:
            head = self._head(exchange, self._chunk_object)
            events.append({**head, "choices": [], "usage": exchange.usage()})
        return [*events, DONE]

    def _head(self, exchange: Exchange, kind: str) -> dict[str, Any]:
        return {
            "id": f"{self._id_prefix}-{exchange.request_id}",
            "object": kind,
            "created": exchange.created_at,
            "model": self._identity.model,
            "system_fingerprint": self._identity.fingerprint,
        }

    def _chunk(
        self,
        exchange: Exchange,
        choice: Choice,
        content: dict[str, Any],
        logprobs: dict[str, Any] | None,
        finish_reason: str | None = None,
    ) -> dict[str, Any]:
        fields = {"index": choice.index, **content, "logprobs": logprobs, "finish_reason": finish_reason}
        usage = {"usage": None} if exchange.generation.tells_usage else {}
        return {**self._head(exchange, self._chunk_object), "choices": [fields], **usage}

    def _logprobs(self, piece: Piece, exchange: Exchange) -> dict[str, Any] | None:
        return None if exchange.generation.params.logprobs is None else self._logprob_fields(piece)

    @abstractmethod
    def _content(self, whole: Piece) -> dict[str, Any]:
        """Return the fields that hold a reply's text."""

    @abstractmethod
    def _delta(self, piece: Piece | None, *, is_first: bool) -> dict[str, Any]:
        """Return the fields that hold a piece, or no piece, of a reply's text."""

    @abstractmethod
    def _logprob_fields(self, piece: Piece) -> dict[str, Any]:
        """Return the log probabilities of a piece's tokens."""


class ChatApi(_OpenaiApi):
    """v1/chat/completions."""

    _request = ChatRequest
    _id_prefix = "chatcmpl"
    _object = "chat.completion"
    _chunk_object = "chat.completion.chunk"

    def _content(self, whole: Piece) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": whole.text}}

    def _delta(self, piece: Piece | None, *, is_first: bool) -> dict[str, Any]:
        role = {"role": "assistant"} if is_first else {}
        text = {"content": piece.text if piece else ""} if piece or is_first else {}
        return {"delta": {**role, **text}}

    def _logprob_fields(self, piece: Piece) -> dict[str, Any]:
        return {"content": [logprob_entry(token) for token in piece.tokens]}


class CompletionApi(_OpenaiApi):
    """v1/completions."""

    _request = CompletionRequest
    _id_prefix = "cmpl"
    _object = _chunk_object = "text_completion"

    def _content(self, whole: Piece) -> dict[str, Any]:
        return {"text": whole.text}

    def _delta(self, piece: Piece | None, *, is_first: bool) -> dict[str, Any]:
        return {"text": piece.text if piece else ""}

    def _logprob_fields(self, piece: Piece) -> dict[str, Any]:
        return {
            "tokens": [token.text for token in piece.tokens],
            "token_logprobs": [token.logprob for token in piece.tokens],
            "top_logprobs": [{other.text: other.logprob for other in token.top} for token in piece.tokens],
            "text_offset": [token.offset for token in piece.tokens],
        }
