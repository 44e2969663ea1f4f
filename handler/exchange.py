"""One request in flight that a session or the engine must serve, and the API that it came through."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from handler.choices import Choice, Piece
from handler.errors import ApiError
from handler.generation import Generation
from handler.metrics import Timeline
from handler.replies import Event
from handler.schema import ClearSessionRequest, HealthRequest, StatusRequest, TrainRequest

Action = Generation | ClearSessionRequest | HealthRequest | StatusRequest | TrainRequest


class SequenceId(NamedTuple):
    """The engine's name for one reply of a request."""

    request_id: str
    choice: int


class Api(Protocol):
    """How one path speaks: from bodies to actions, from results to bodies and events."""

    def parse(self, body: Any) -> Action:
        """Read a body. Raises ApiError."""

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """Return the body, or the event, that tells an error."""

    def reply(self, exchange: Exchange) -> dict[str, Any]:
        """Return the body of a finished generation."""

    def event(self, exchange: Exchange, choice: Choice, piece: Piece) -> Event:
        """Return the event of a piece that was just taken."""

    def last_events(self, exchange: Exchange) -> list[Event]:
        """Return the events that end a finished stream."""


@dataclass(frozen=True)
class Incoming:
    """A request that was read and waits for its turn."""

    api: Api
    action: Generation | ClearSessionRequest
    timeline: Timeline


class Inquiry(NamedTuple):
    """A call of the store of conversations.

    `go_on` takes its result, or `otherwise` where the request may do without the store.
    """

    result: Future[Any]
    go_on: Callable[[Any], None]
    otherwise: Any


@dataclass
class Exchange:
    """What is known of a request between its arrival and its reply.

    `session_id` is its conversation, None when it has none or goes on without.
    A caller that cannot stream gets one whole reply.
    `num_prompt_tokens` counts each prompt once, however many replies it gets.
    """

    request_id: str
    api: Api
    request: Generation | ClearSessionRequest
    deadline: float
    can_stream: bool
    timeline: Timeline
    inquiry: Inquiry | None = None  # the store has not answered yet
    holds_session: bool = False  # or has asked for it
    next_look: float = 0.0  # when to ask again for a session that another request holds
    is_running: bool = False  # the session is held and, for a generation, the engine has it
    has_begun: bool = False  # part of the stream is out: no other status can be told any more
    created_at: int = field(default_factory=lambda: int(time.time()))
    seed: int = 0
    choices: list[Choice] = field(default_factory=list)
    session_id: str | None = field(init=False)

    def __post_init__(self) -> None:
        self.session_id = self.request.session_id

    @property
    def streams(self) -> bool:
        """Whether the reply goes out in pieces."""
        return self.can_stream and self.generation.stream

    @property
    def generation(self) -> Generation:
        """The request of an exchange that the engine has: no other gets there."""
        assert isinstance(self.request, Generation)
        return self.request

    @property
    def num_sequences(self) -> int:
        """Places in the engine that it takes."""
        return self.request.num_sequences if isinstance(self.request, Generation) else 1

    @property
    def is_finished(self) -> bool:
        """Whether the engine is through with it."""
        return all(choice.finish_reason for choice in self.choices)

    def take_events(self) -> list[Event]:
        """Return the events of all that is new."""
        pieces = [(choice, choice.take()) for choice in self.choices]
        return [self.api.event(self, choice, piece) for choice, piece in pieces if piece]

    def usage(self) -> dict[str, Any]:
        """Return the token counts, in OpenAI's words."""
        firsts = self.choices[:: self.generation.num_choices]
        num_prompt = sum(choice.num_prompt_tokens for choice in firsts)
        num_completion = sum(choice.num_tokens for choice in self.choices)
        return {
            "prompt_tokens": num_prompt,
            "completion_tokens": num_completion,
            "total_tokens": num_prompt + num_completion,
            "prompt_tokens_details": {"cached_tokens": sum(choice.num_cached_tokens for choice in firsts)},
        }
