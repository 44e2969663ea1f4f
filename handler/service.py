"""The service behind the five actions: requests in, replies out, one engine step at a time.

It knows neither TorchServe nor HTTP: the handler feeds it, tests can too.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from handler.errors import ApiError, internal_error
from handler.exchange import Exchange
from handler.schema import (
    ClearSessionRequest,
    GenerateRequest,
    HealthRequest,
    Request,
    StatusRequest,
    TrainRequest,
    parse,
)
from handler.served_model import ServedModel
from handler.sessions import SessionStore
from handler.settings import HandlerSettings
from model.backend import open_decoder
from model.dialogue import Turn, encode_prompt
from model.engine import Engine, EngineFullError, PromptTooLongError

OFFLINE_COMMAND = "./neuroq train my_text.txt"
_HOLD_MARGIN = 5.0  # seconds that a session stays held after the deadline of the request that holds it
_RETRY_SECONDS = 0.02  # between two looks at a session that another request holds
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reply:
    """What goes back to a client."""

    status: int
    body: dict[str, Any]


class Service:
    """Accepts requests, decodes them together, keeps their conversations in order.

    `submit` and `cancel` never raise and never wait; `step` returns the replies that are ready. A request
    that fails takes nobody else with it.
    """

    def __init__(
        self,
        served: ServedModel,
        sessions: SessionStore,
        settings: HandlerSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._served, self._sessions, self._settings, self._clock = served, sessions, settings, clock
        decoder = open_decoder(
            served.network,
            num_slots=settings.slots,
            end_ids=served.tokenizer.stop_ids,
            device=served.device,
            threads=settings.threads,
        )
        self._engine = Engine(
            decoder,
            temperature=served.network.quantum_temperature,
            end_ids=served.tokenizer.stop_ids,
            max_waiting=settings.max_waiting,
        )
        self._description = served.description()
        self._exchanges: dict[str, Exchange] = {}  # in order of arrival
        self._replies: dict[str, Reply] = {}
        self._next_look = 0.0

    @property
    def num_in_flight(self) -> int:
        """Requests that have no reply yet."""
        return len(self._exchanges)

    def knows(self, request_id: str) -> bool:
        """Return whether a request was submitted and its reply not taken yet."""
        return request_id in self._exchanges or request_id in self._replies

    def submit(self, request_id: str, body: Any) -> None:
        """Take a request: its body is JSON bytes, a JSON string, or decoded JSON."""
        try:
            self._accept(request_id, parse(body))
        except ApiError as error:
            self._replies[request_id] = _refusal(error)
        except Exception:
            _logger.exception("request %s failed", request_id)
            self._replies[request_id] = _refusal(internal_error())

    def cancel(self, request_id: str) -> None:
        """Forget a request whose client is gone; its slot and its session are free at once."""
        self._replies.pop(request_id, None)
        if request_id in self._exchanges:
            self._end(self._exchanges[request_id])

    def cancel_all_but(self, request_ids: set[str]) -> None:
        """Forget every request that is not among these."""
        for request_id in (self._exchanges.keys() | self._replies.keys()) - request_ids:
            self.cancel(request_id)

    def step(self) -> dict[str, Reply]:
        """Move every request on; return the replies that are ready, each once."""
        self._expire()
        self._start_waiting()
        self._decode()
        replies, self._replies = self._replies, {}
        return replies

    def wait_seconds(self) -> float:
        """How long a caller that loops may sleep before the next step: 0 while anything decodes."""
        busy = self._engine.num_running or self._engine.num_waiting or self._replies
        return 0.0 if busy else _RETRY_SECONDS

    def _accept(self, request_id: str, request: Request) -> None:
        if isinstance(request, HealthRequest):
            self._replies[request_id] = Reply(200, self._health())
        elif isinstance(request, StatusRequest):
            self._replies[request_id] = Reply(200, self._status())
        elif isinstance(request, TrainRequest):
            raise ApiError(
                403,
                "train_disabled",
                f"this server never trains; train offline: {OFFLINE_COMMAND}",
                command=OFFLINE_COMMAND,
            )
        else:
            if len(self._exchanges) >= self._settings.slots + self._settings.max_waiting:
                raise ApiError(503, "overloaded", "too many requests are waiting, try again later")
            deadline = self._clock() + self._settings.deadline_seconds
            self._exchanges[request_id] = Exchange(request_id, request, self._session(request), deadline)

    def _session(self, request: GenerateRequest | ClearSessionRequest) -> str | None:
        """The conversation of a request; requests without a name share one unless that is switched off."""
        if request.session_id is None and not self._settings.sessions.share_default:
            return None
        return request.session_id or "default"

    def _health(self) -> dict[str, Any]:
        device = str(self._served.device)
        return {
            "status": "healthy",
            "device": device,
            "cuda_available": device.startswith("cuda"),
            "model_initialized": True,
        }

    def _status(self) -> dict[str, Any]:
        return {
            "status": "ok",
            "initialized": True,
            **self._description,
            "requests_running": self._engine.num_running,
            "requests_waiting": len(self._exchanges) - self._engine.num_running,
            "sessions": self._sessions.count(),
            "training_job": None,
        }

    def _expire(self) -> None:
        now = self._clock()
        for exchange in [e for e in self._exchanges.values() if now > e.deadline]:
            seconds = self._settings.deadline_seconds
            self._fail(exchange, ApiError(504, "deadline_exceeded", f"not done within {seconds:g} seconds"))

    def _start_waiting(self) -> None:
        """Start each request whose session is free, the first of each session first."""
        waiting = [e for e in self._exchanges.values() if not e.is_running]
        if not waiting or self._clock() < self._next_look:
            return
        taken = {e.session_id for e in self._exchanges.values() if e.is_running and e.session_id}
        for exchange in waiting:
            if exchange.session_id not in taken:
                self._guarded(exchange, self._start)
            if exchange.session_id:
                taken.add(exchange.session_id)
        if any(not e.is_running for e in self._exchanges.values()) and not self._engine.num_running:
            self._next_look = self._clock() + _RETRY_SECONDS

    def _start(self, exchange: Exchange) -> None:
        history: list[Turn] | None = []
        if exchange.session_id is not None:
            hold = max(exchange.deadline - self._clock(), 0) + _HOLD_MARGIN
            history = self._sessions.take(exchange.session_id, hold)
        if history is None:
            return
        exchange.is_running = True
        if isinstance(exchange.request, ClearSessionRequest):
            self._clear(exchange)
        else:
            self._generate(exchange, exchange.request, history)

    def _clear(self, exchange: Exchange) -> None:
        if exchange.session_id is not None:
            self._sessions.forget(exchange.session_id)
        name = exchange.session_id or "default"
        self._finish(exchange, {"status": "success", "message": f"session {name} is cleared"})

    def _generate(self, exchange: Exchange, request: GenerateRequest, history: list[Turn]) -> None:
        context = self._engine.context_length
        prompt_ids = encode_prompt(
            self._served.tokenizer,
            history,
            request.prompt,
            style=self._served.style,
            max_tokens=context - min(request.max_length, context // 2),
        )
        exchange.num_prompt_tokens = len(prompt_ids)
        exchange.seed = secrets.randbelow(2**31) if request.seed is None else request.seed
        try:
            self._engine.add(exchange.request_id, prompt_ids, request.sampling(exchange.seed))
        except PromptTooLongError as error:
            raise ApiError(400, "prompt_too_long", f"prompt: {error}") from error
        except EngineFullError as error:
            raise ApiError(503, "overloaded", str(error)) from error

    def _decode(self) -> None:
        try:
            progress = self._engine.step(self._settings.tokens_per_step)
        except Exception:
            _logger.exception("the engine failed; %d requests are lost", self.num_in_flight)
            for exchange in list(self._exchanges.values()):
                self._fail(exchange, internal_error())
            return
        for request_id, news in progress.items():
            exchange = self._exchanges[str(request_id)]
            exchange.accept(news.new_ids, news.finish_reason, self._served.tokenizer)
            if exchange.finish_reason:
                self._guarded(exchange, self._answer)

    def _answer(self, exchange: Exchange) -> None:
        request = exchange.request
        assert isinstance(request, GenerateRequest)  # the engine gets no other
        text = exchange.text(self._served.tokenizer)
        if exchange.session_id is not None:
            turns = [Turn("user", request.prompt), Turn("assistant", text)]
            self._sessions.give_back(exchange.session_id, turns)
            exchange.session_id = None
        num_completion = len(exchange.output_ids)
        self._finish(
            exchange,
            {
                "status": "success",
                "prompt": request.prompt,
                "generated": text,
                "session_id": self._session(request),
                "finish_reason": exchange.finish_reason,
                "usage": {
                    "prompt_tokens": exchange.num_prompt_tokens,
                    "completion_tokens": num_completion,
                    "total_tokens": exchange.num_prompt_tokens + num_completion,
                },
                "model_version": self._served.version,
                "seed": exchange.seed,
            },
        )

    def _guarded(self, exchange: Exchange, move: Callable[[Exchange], None]) -> None:
        """Make a move; a failure is this request's alone."""
        try:
            move(exchange)
        except ApiError as error:
            self._fail(exchange, error)
        except Exception:
            _logger.exception("request %s failed", exchange.request_id)
            self._fail(exchange, internal_error())

    def _fail(self, exchange: Exchange, error: ApiError) -> None:
        self._end(exchange)
        self._replies[exchange.request_id] = _refusal(error)

    def _finish(self, exchange: Exchange, body: dict[str, Any]) -> None:
        self._end(exchange)
        self._replies[exchange.request_id] = Reply(200, body)

    def _end(self, exchange: Exchange) -> None:
        """Let go of everything that a request holds."""
        self._exchanges.pop(exchange.request_id, None)
        self._engine.cancel(exchange.request_id)
        if exchange.is_running and exchange.session_id is not None:
            try:
                self._sessions.give_back(exchange.session_id)
            except Exception:
                _logger.exception("session %s could not be given back", exchange.session_id)


def _refusal(error: ApiError) -> Reply:
    return Reply(error.status, error.body)
