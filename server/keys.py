"""TorchServe's tokens: read from key_file.json, and renewed with the API key before they expire.

Renewing makes a new token and ends the old one at once, for everybody who holds it; so only a token in its
last minute is renewed.
"""

import json
import re
import time
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import httpx

from server.errors import ServerError
from server.state import ServerState

MARGIN = timedelta(minutes=1)


@dataclass(frozen=True)
class Key:
    """One token and when it ends; the API key has no end."""

    value: str
    expires_at: datetime | None = None

    def is_ending(self, now: datetime) -> bool:
        """Tell whether the token has expired or is about to."""
        return self.expires_at is not None and self.expires_at - now < MARGIN


@dataclass(frozen=True)
class Keys:
    """The three keys of one server: inference and management for calls, api for renewal."""

    inference: Key
    management: Key
    api: Key

    def ending(self, now: datetime) -> list[str]:
        """Return the types of the tokens that want renewal."""
        return [name for name in ("inference", "management") if getattr(self, name).is_ending(now)]


def current_keys(state: ServerState) -> Keys:
    """Return tokens that are good for at least a moment, renewing those that are not."""
    keys = read_keys(state.key_file)
    ending = keys.ending(datetime.now(timezone.utc))
    for token_type in ending:
        renew(state, keys.api, token_type)
    return read_keys(state.key_file) if ending else keys


def renew(state: ServerState, api_key: Key, token_type: str) -> None:
    """Let TorchServe make a new token; it goes into the key file."""
    url = f"{state.settings.addresses['management']}/token"
    headers = {"Authorization": f"Bearer {api_key.value}"}
    try:
        reply = httpx.get(url, params={"type": token_type}, headers=headers, trust_env=False, timeout=10)
    except httpx.HTTPError as error:
        raise ServerError(f"cannot renew the {token_type} token: {error}") from error
    if reply.status_code != httpx.codes.OK:
        raise ServerError(f"cannot renew the {token_type} token: TorchServe answered {reply.status_code}")


def read_keys(path: Path) -> Keys:
    """Read the key file, waiting a moment for one that is just being written."""
    for attempts_left in reversed(range(20)):
        try:
            return parse_keys(path.read_text())
        except (OSError, ValueError, KeyError) as error:
            if not attempts_left:
                raise ServerError(f"cannot read the tokens in {path}: {error}") from error
        time.sleep(0.05)
    raise AssertionError("unreachable")


def parse_keys(text: str) -> Keys:
    """Return the keys in the text of a key file."""
    record = json.loads(text)
    inference, management = (
        Key(record[name]["key"], parse_instant(record[name]["expiration time"]))
        for name in ("inference", "management")
    )
    return Keys(inference, management, Key(record["API"]["key"]))


def parse_instant(text: str) -> datetime:
    """Read Java's Instant, such as 2030-01-31T09:00:00.123456789Z, to the second."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?Z", text)
    if not found:
        raise ValueError(f"not an instant: {text!r}")
    return datetime.fromisoformat(found.group(1)).replace(tzinfo=timezone.utc)
