"""Conversations in Redis: shared by every worker of every server that names it.

A session is a list of turns that expires by itself. The key beside it is its hold: a lease with a token,
which its worker renews as long as it is answering, so the hold of a worker that was killed ends soon. Who has
lost the lease writes nothing. Each change is one script: Redis carries it out whole or not at all, and with
`appendonly yes` and `appendfsync always` has it on the disk before it says so.
"""

from __future__ import annotations

import json
import logging
import time
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any
from uuid import uuid4

from redis import Redis
from redis.backoff import NoBackoff
from redis.commands.core import Script
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from handler.sessions import SessionsAwayError, bounded
from handler.settings import SessionSettings
from model.dialogue import Turn

_TIMEOUT = 2.0  # seconds for one answer of Redis, or for a connection
_BEAT = 1.0  # seconds between two renewals
_LEASE = 10_000  # milliseconds
_INDEX = "neuroq:sessions"  # every session with turns, by the time (ms) of its last one
_logger = logging.getLogger(__name__)

_TAKE = """
-- KEYS: hold, turns   ARGV: token, lease
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return false end
return redis.call('LRANGE', KEYS[2], 0, -1)
"""
_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function prune(index, idle)
  redis.call('ZREMRANGEBYSCORE', index, '-inf', string.format('(%.0f', now - idle))
end
"""
_GIVE_BACK = f"""{_NOW}
-- KEYS: hold, turns, index   ARGV: token, id, idle, max sessions, turns to keep, new turns ...
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
redis.call('DEL', KEYS[1])
if ARGV[5] == '0' then  -- this exchange alone is too long
  redis.call('DEL', KEYS[2])
  redis.call('ZREM', KEYS[3], ARGV[2])
elseif #ARGV > 5 then
  redis.call('RPUSH', KEYS[2], unpack(ARGV, 6))
  redis.call('LTRIM', KEYS[2], -ARGV[5], -1)
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
  redis.call('ZADD', KEYS[3], string.format('%.0f', now), ARGV[2])
end
prune(KEYS[3], ARGV[3])
local surplus = redis.call('ZCARD', KEYS[3]) - ARGV[4]
for _, id in ipairs(surplus > 0 and redis.call('ZRANGE', KEYS[3], 0, surplus - 1) or {{}}) do
  if redis.call('EXISTS', 'neuroq:hold:' .. id) == 0 then
    redis.call('DEL', 'neuroq:turns:' .. id)
    redis.call('ZREM', KEYS[3], id)
  end
end
return redis.call('ZCARD', KEYS[3])
"""
_FORGET = """
-- KEYS: hold, turns, index   ARGV: token, id
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('ZREM', KEYS[3], ARGV[2])
end
return redis.call('ZCARD', KEYS[3])
"""
_RENEW = f"""{_NOW}
-- KEYS: index, holds ...   ARGV: idle, lease, tokens ...
for i = 2, #KEYS do
  if redis.call('GET', KEYS[i]) == ARGV[i + 1] then redis.call('PEXPIRE', KEYS[i], ARGV[2]) end
end
prune(KEYS[1], ARGV[1])
return redis.call('ZCARD', KEYS[1])
"""


@dataclass(frozen=True)
class _Hold:
    """What this worker knows of a session that it holds, until a time of the monotonic clock."""

    token: str
    turns: list[Turn]
    until: float


class RedisSessions:
    """The contract of handler/sessions.py.

    A failure counts as "Redis is away": from then on every call fails at once, until a renewal gets through.
    `count` is a second old at most where other servers write.
    """

    def __init__(self, settings: SessionSettings) -> None:
        """Open the store, whether Redis is there or not. Raises ValueError for a malformed address."""
        self._settings, self._idle = settings, int(settings.idle_seconds * 1000)
        self.executor: Executor = ThreadPoolExecutor(1, thread_name_prefix="sessions")
        self._redis = Redis.from_url(
            settings.store,
            decode_responses=True,
            socket_timeout=_TIMEOUT,
            socket_connect_timeout=_TIMEOUT,
            retry=Retry(NoBackoff(), 0),  # a script that was cut off may have run: never twice
        )
        scripts = (_TAKE, _GIVE_BACK, _FORGET, _RENEW)
        self._take, self._give_back, self._forget, self._renew = map(self._redis.register_script, scripts)
        self._holds: dict[str, _Hold] = {}
        self._count = 0
        self._is_away: bool | None = None  # not known yet
        self._closed = Event()
        self._beat()
        self._thread = Thread(target=self._keep_beating, name="sessions-beat", daemon=True)
        self._thread.start()

    @property
    def is_away(self) -> bool:
        """Whether the last call failed."""
        return bool(self._is_away)

    def take(self, session_id: str, seconds: float) -> list[Turn] | None:
        """Hold a session for at most `seconds`; return its turns, or None while another request holds it."""
        token = uuid4().hex
        found = self._call(self._take, _keys(session_id)[:2], token, _LEASE)
        if found is None:
            return None
        turns = [Turn(*json.loads(each)) for each in found]
        self._holds[session_id] = _Hold(token, turns, time.monotonic() + seconds)
        return turns

    def give_back(self, session_id: str, new_turns: list[Turn] | None = None) -> bool:
        """End a hold, with the turns that are new; returns False when it was no longer this worker's."""
        hold = self._holds.pop(session_id, None)
        if hold is None:
            return False
        new = [json.dumps([turn.role, turn.text], ensure_ascii=False) for turn in new_turns or []]
        num_kept = len(bounded(hold.turns + new_turns, self._settings)) if new_turns else -1
        bounds = self._idle, self._settings.max_sessions, num_kept
        count = self._call(self._give_back, _keys(session_id), hold.token, session_id, *bounds, *new)
        if count < 0:
            return False
        self._count = count
        return True

    def forget(self, session_id: str) -> None:
        """Drop a session that this worker holds, its turns and the hold."""
        hold = self._holds.pop(session_id, None)
        if hold is not None:
            self._count = self._call(self._forget, _keys(session_id), hold.token, session_id)

    def count(self) -> int:
        """Number of conversations with at least one turn, the last that was heard of."""
        return self._count

    def close(self) -> None:
        """End the renewals and close the connections."""
        self._closed.set()
        self._thread.join()
        self.executor.shutdown()
        self._redis.close()

    def _call(self, script: Script, keys: list[str], *arguments: str | int) -> Any:
        if self._is_away:
            raise SessionsAwayError
        try:
            return script(keys=keys, args=arguments)
        except RedisError as error:
            self._note_failure(error)
            raise SessionsAwayError from error

    def _keep_beating(self) -> None:
        while not self._closed.wait(_BEAT):
            self._beat()

    def _beat(self) -> None:
        """Renew the leases and count; a Redis that cannot write fails here, too."""
        now = time.monotonic()
        holds = {f"neuroq:hold:{name}": h.token for name, h in self._holds.copy().items() if now < h.until}
        try:
            self._count = self._renew(keys=[_INDEX, *holds], args=[self._idle, _LEASE, *holds.values()])
            if self._is_away is not False:
                self._note_return()
        except RedisError as error:
            self._note_failure(error)

    def _note_failure(self, error: RedisError) -> None:
        if not self._is_away:
            _logger.warning("Redis at %s is away, conversations wait for it: %s", self._place, error)
        self._is_away = True

    def _note_return(self) -> None:
        self._is_away = False
        _logger.info("conversations are kept in Redis at %s", self._place)
        doubts = self._doubts()
        if doubts:
            _logger.warning(
                "Redis at %s may lose acknowledged turns when it stops: %s (docs/sessions.md)",
                self._place,
                ", ".join(doubts),
            )

    def _doubts(self) -> list[str]:
        """Return the settings by which Redis would not keep what it has confirmed."""
        wanted = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
        doubts = []
        for name, value in wanted.items():
            try:
                found = self._redis.config_get(name).get(name)
            except ResponseError:  # a hosted Redis may not tell
                found = "unknown"
            if found != value:
                doubts.append(f"{name} is {found}, not {value}")
        return doubts

    @property
    def _place(self) -> str:
        """Host, port and database: the address without its password."""
        known = self._redis.connection_pool.connection_kwargs
        return f"{known.get('host', 'localhost')}:{known.get('port', 6379)}/{known.get('db', 0)}"


def _keys(session_id: str) -> list[str]:
    return [f"neuroq:hold:{session_id}", f"neuroq:turns:{session_id}", _INDEX]
