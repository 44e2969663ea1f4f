"""The five actions' own bodies and events."""

from __future__ import annotations

from typing import Any

from handler.choices import Alternative, Choice, DrawnToken, Piece
from handler.errors import ApiError
from handler.exchange import Action, Exchange
from handler.replies import Event
from handler.schema import GenerateRequest, parse


class NeuroqApi:
    """Implements Api for the plain path. Requests without `session_id` go on with `default_session`."""

    def __init__(self, version: str, default_session: str | None) -> None:
        self._version, self._default_session = version, default_session

    def parse(self, body: Any) -> Action:
        """Read an action."""
        request = parse(body)
        if isinstance(request, GenerateRequest):
            return request.generation(self._default_session)
        return request

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """Return the contract's error body."""
        return error.body

    def reply(self, exchange: Exchange) -> dict[str, Any]:
        """Return the contract's reply; `choices` only when there are several."""
        texts = [self._text_fields(choice.whole, exchange) for choice in exchange.choices]
        prompt = exchange.generation.prompts[0].text
        return {"status": "success", "prompt": prompt, **texts[0], **self._end_fields(exchange, texts)}

    def event(self, exchange: Exchange, choice: Choice, piece: Piece) -> Event:
        """Return a piece; `index` only when there are several replies."""
        index = {"index": choice.index} if len(exchange.choices) > 1 else {}
        return {**index, "delta": piece.text, **_logprob_fields(piece, exchange)}

    def last_events(self, exchange: Exchange) -> list[Event]:
        """Return what the reply says beside the text."""
        return [self._end_fields(exchange, [{} for _ in exchange.choices])]

    def _text_fields(self, whole: Piece, exchange: Exchange) -> dict[str, Any]:
        return {"generated": whole.text, **_logprob_fields(whole, exchange)}

    def _end_fields(self, exchange: Exchange, texts: list[dict[str, Any]]) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "session_id": exchange.session_id,
            "finish_reason": exchange.choices[0].finish_reason,
            "usage": exchange.usage(),
            "model_version": self._version,
            "seed": exchange.seed,
        }
        if len(exchange.choices) > 1:
            fields["choices"] = [
                {"index": choice.index, **text, "finish_reason": choice.finish_reason, "seed": choice.seed}
                for choice, text in zip(exchange.choices, texts, strict=True)
            ]
        return fields


def logprob_entry(token: DrawnToken) -> dict[str, Any]:
    """Return a token's log probability and its alternatives, in the words of OpenAI's chat."""
    return {**_alternative(token), "top_logprobs": [_alternative(other) for other in token.top]}


def _alternative(token: Alternative) -> dict[str, Any]:
    return {"token": token.text, "logprob": token.logprob, "bytes": list(token.data)}


def _logprob_fields(piece: Piece, exchange: Exchange) -> dict[str, Any]:
    if exchange.generation.params.logprobs is None:
        return {}
    return {"logprobs": [logprob_entry(token) for token in piece.tokens]}
