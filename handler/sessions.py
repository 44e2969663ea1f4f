"""The contract of the two places where conversations are kept, a SQLite file and Redis."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import Protocol

from handler.settings import SessionSettings, sessions_path
from model.dialogue import Turn


class SessionsAwayError(Exception):
    """The store does not answer now; what was asked of it may have happened or not."""


class SessionStore(Protocol):
    """Holds the last turns of each conversation.

    A worker takes a session before it answers in it and gives it back with the new turns, so two requests
    of one session are answered one after the other, whichever workers they reached. A hold ends by itself
    when its time is over or its process is gone.

    What may wait is called by `executor`, one call after the other, and may raise SessionsAwayError: take,
    give_back and forget. The rest answers at once, in any thread.
    """

    executor: Executor

    @property
    def is_away(self) -> bool:
        """Whether the store is known not to answer."""

    def take(self, session_id: str, seconds: float) -> list[Turn] | None:
        """Hold a session for at most `seconds`; return its turns, or None while another request holds it."""

    def give_back(self, session_id: str, new_turns: list[Turn] | None = None) -> bool:
        """End a hold; `new_turns` are appended and the oldest dropped beyond the bounds.

        Returns False when the hold was no longer this worker's: then nothing has changed.
        """

    def forget(self, session_id: str) -> None:
        """Drop a session that this worker holds, its turns and the hold."""

    def count(self) -> int:
        """Number of conversations with at least one turn."""

    def close(self) -> None:
        """Let go of the file or the connections."""


def open_sessions(settings: SessionSettings) -> SessionStore:
    """Open the store that the settings name. Raises ValueError for a malformed address."""
    if settings.store:
        from handler.redis_sessions import RedisSessions  # noqa: PLC0415  # costs the start a while

        return RedisSessions(settings)
    from handler.sqlite_sessions import SqliteSessions  # noqa: PLC0415

    return SqliteSessions(sessions_path(settings), settings)


def bounded(turns: list[Turn], settings: SessionSettings) -> list[Turn]:
    """Drop the oldest exchanges (pairs) beyond the bounds in turns and bytes."""
    turns = turns[-(settings.max_turns - settings.max_turns % 2) :]
    while turns and sum(len(turn.text.encode()) for turn in turns) > settings.max_bytes:
        turns = turns[2:]
    return turns
