"""Conversations in a SQLite file: shared by every worker of this machine, and kept over restarts."""

from __future__ import annotations

import json
import os
import sqlite3
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import ParamSpec, TypeVar

from handler.sessions import bounded
from handler.settings import SessionSettings
from model.dialogue import Turn

P = ParamSpec("P")
T = TypeVar("T")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions (
    session_id TEXT PRIMARY KEY,
    turns      TEXT NOT NULL DEFAULT '[]',
    used_at    REAL NOT NULL,
    holder     TEXT,            -- pid:nonce of the worker that is answering in this session now
    held_until REAL NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS sessions_used_at ON sessions (used_at);
-- Nearly always of a few rows, so that counting and pruning need not read the table.
CREATE INDEX IF NOT EXISTS sessions_empty ON sessions (session_id) WHERE turns = '[]';
"""


class AtOnce(Executor):
    """Calls in the caller's own thread: a file on this machine is read faster than a thread is woken."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call; the future is done."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class SqliteSessions:
    """The contract of handler/sessions.py. A hold ends with its process, which is looked up by its id."""

    is_away = False

    def __init__(self, path: Path, settings: SessionSettings, clock: Callable[[], float] = time.time) -> None:
        self.executor: Executor = AtOnce()
        self._settings, self._clock = settings, clock
        self._holder = f"{os.getpid()}:{uuid.uuid4().hex}"
        self._database = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
        path.chmod(0o600)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.executescript(_SCHEMA)

    def take(self, session_id: str, seconds: float) -> list[Turn] | None:
        """Hold a session for at most `seconds`; return its turns, or None while another request holds it."""
        now = self._clock()
        taken = self._database.execute(
            "INSERT INTO sessions (session_id, used_at, holder, held_until) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (session_id) DO UPDATE "
            "SET holder = excluded.holder, held_until = excluded.held_until "
            "WHERE holder IS NULL OR held_until < ?",
            (session_id, now, self._holder, now + seconds, now),
        ).rowcount
        if not taken and not self._free_if_dead(session_id):
            return None
        if not taken:
            return self.take(session_id, seconds)
        return self._turns(session_id, now)

    def give_back(self, session_id: str, new_turns: list[Turn] | None = None) -> bool:
        """End a hold, with the turns that are new; returns False when it was no longer this worker's."""
        now = self._clock()
        self._database.execute("BEGIN IMMEDIATE")
        try:
            if new_turns:
                turns = bounded(self._turns(session_id, now) + new_turns, self._settings)
                content = json.dumps([[turn.role, turn.text] for turn in turns], ensure_ascii=False)
                self._database.execute(
                    "UPDATE sessions SET turns = ?, used_at = ? WHERE session_id = ? AND holder = ?",
                    (content, now, session_id, self._holder),
                )
            num_held = self._database.execute(
                "UPDATE sessions SET holder = NULL, held_until = 0 WHERE session_id = ? AND holder = ?",
                (session_id, self._holder),
            ).rowcount
            self._prune(now)
            self._database.execute("COMMIT")
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        return num_held > 0

    def forget(self, session_id: str) -> None:
        """Drop a session that this worker holds, its turns and the hold."""
        self._database.execute(
            "DELETE FROM sessions WHERE session_id = ? AND holder = ?", (session_id, self._holder)
        )

    def count(self) -> int:
        """Number of conversations with at least one turn."""
        empty = "SELECT count(*) FROM sessions WHERE turns = '[]'"
        return self._number(f"SELECT (SELECT count(*) FROM sessions) - ({empty})")

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _number(self, query: str) -> int:
        return int(self._database.execute(query).fetchone()[0])

    def _turns(self, session_id: str, now: float) -> list[Turn]:
        row = self._database.execute(
            "SELECT turns FROM sessions WHERE session_id = ? AND used_at >= ?",
            (session_id, now - self._settings.idle_seconds),
        ).fetchone()
        return [Turn(role, text) for role, text in json.loads(row[0])] if row else []

    def _prune(self, now: float) -> None:
        """Drop what is idle too long, empty, or beyond the number of sessions; never a held session."""
        delete = "DELETE FROM sessions WHERE (holder IS NULL OR held_until < :now) AND "
        times = {"now": now, "idle": now - self._settings.idle_seconds}
        self._database.execute(delete + "turns = '[]'", {"now": now})
        self._database.execute(delete + "used_at < :idle", times)
        surplus = self._number("SELECT count(*) FROM sessions") - self._settings.max_sessions
        if surplus > 0:
            oldest = "session_id IN (SELECT session_id FROM sessions ORDER BY used_at LIMIT :surplus)"
            self._database.execute(delete + oldest, {"now": now, "surplus": surplus})

    def _free_if_dead(self, session_id: str) -> bool:
        """End the hold of a process that is gone; return whether there was one."""
        row = self._database.execute(
            "SELECT holder FROM sessions WHERE session_id = ?", (session_id,)
        ).fetchone()
        if row is None or row[0] is None:
            return True
        if _is_alive(int(row[0].split(":")[0])):
            return False
        self._database.execute(
            "UPDATE sessions SET holder = NULL WHERE session_id = ? AND holder = ?", (session_id, row[0])
        )
        return True


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
