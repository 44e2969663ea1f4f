"""The requests' way to their conversations: from the service's thread, which never waits for the store."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from handler.errors import sessions_unavailable
from handler.exchange import Exchange, Inquiry
from handler.generation import Generation
from handler.sessions import SessionsAwayError, SessionStore
from model.dialogue import Turn

DEFAULT_SESSION = "default"
T = TypeVar("T")
_logger = logging.getLogger(__name__)


class Conversations:
    """Asks the store for a request and goes on with it when there is an answer: at once, or later by `go_on`.

    While the store is away, requests that need a conversation are refused. The shared `default` is done
    without if `store_away` is "answer"; if it is "refuse", no request is answered at all.
    """

    def __init__(self, store: SessionStore, store_away: str) -> None:
        self._store, self._refuses_all = store, store_away == "refuse"
        self.wake: Callable[[], None] = lambda: None  # called, in any thread, when there is an answer

    def check(self) -> None:
        """Raise ApiError when no request may be answered now, even without history."""
        if self._refuses_all and self._store.is_away:
            raise sessions_unavailable()

    def take(
        self, exchange: Exchange, seconds: float, go_on: Callable[[Exchange, list[Turn] | None], None]
    ) -> None:
        """Ask for the request's session, for so long; it goes on with the turns, None while it is held."""
        assert exchange.session_id is not None
        exchange.holds_session = True
        self._ask(exchange, partial(self._store.take, exchange.session_id, seconds), go_on, otherwise=[])

    def keep(self, exchange: Exchange, turns: list[Turn], go_on: Callable[[Exchange], None]) -> None:
        """Give the session back with new turns; the request goes on when they are kept."""
        assert exchange.session_id is not None
        give_back = partial(self._store.give_back, exchange.session_id, turns)
        self._ask(exchange, give_back, partial(_go_on_if_kept, go_on), otherwise=True)

    def forget(self, exchange: Exchange, go_on: Callable[[Exchange, None], None]) -> None:
        """Drop the session that the request holds."""
        assert exchange.session_id is not None
        self._ask(exchange, partial(self._store.forget, exchange.session_id), go_on, otherwise=None)

    def let_go(self, exchange: Exchange) -> None:
        """Give back what the request holds or has asked for, as it was."""
        if exchange.holds_session:
            assert exchange.session_id is not None
            exchange.holds_session = False
            given_back = self._store.executor.submit(self._store.give_back, exchange.session_id)
            given_back.add_done_callback(partial(_log_failure, exchange.session_id))

    def go_on(self, exchange: Exchange) -> None:
        """Go on with a request whose answer is there. Raises ApiError when the store is away."""
        inquiry, exchange.inquiry = exchange.inquiry, None
        assert inquiry is not None
        try:
            answer = inquiry.result.result()
        except SessionsAwayError as error:
            if not self._may_do_without(exchange):
                raise sessions_unavailable() from error
            exchange.session_id, exchange.holds_session = None, False
            answer = inquiry.otherwise
        inquiry.go_on(answer)

    def _may_do_without(self, exchange: Exchange) -> bool:
        is_generation = isinstance(exchange.request, Generation)
        return is_generation and exchange.session_id == DEFAULT_SESSION and not self._refuses_all

    def _ask(
        self, exchange: Exchange, call: Callable[[], T], go_on: Callable[[Exchange, T], None], otherwise: Any
    ) -> None:
        result = self._store.executor.submit(call)
        exchange.inquiry = Inquiry(result, partial(go_on, exchange), otherwise)
        if result.done():
            self.go_on(exchange)
        else:
            result.add_done_callback(lambda _: self.wake())


def _log_failure(session_id: str, given_back: Future[bool]) -> None:
    error = given_back.exception()
    if error and not isinstance(error, SessionsAwayError):
        _logger.error("session %s could not be given back", session_id, exc_info=error)


def _go_on_if_kept(go_on: Callable[[Exchange], None], exchange: Exchange, is_kept: bool) -> None:
    exchange.holds_session = False
    if not is_kept:
        raise sessions_unavailable("the conversation went on elsewhere meanwhile; this reply is not in it")
    go_on(exchange)
