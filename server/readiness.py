"""Whether the server answers: a READY worker in the management API, and a health prediction that says so.

TorchServe's /ping says Healthy while workers still load, and while they crash again and again.
"""

from dataclasses import dataclass
from typing import Any

import httpx

from server.errors import ServerError
from server.keys import Key, Keys, current_keys
from server.state import ServerState

MODEL = "neuroq"
TIMEOUT = 10.0


@dataclass(frozen=True)
class Health:
    """What the server says of itself."""

    is_listening: bool
    has_model: bool = False
    is_ready: bool = False
    version: str | None = None
    versions: tuple[str, ...] = ()


def probe(state: ServerState) -> Health:
    """Ask the server; an error on the way is an answer too."""
    try:
        keys = current_keys(state)
        default = _model(state, keys.management, MODEL)
        if default is None:
            return Health(is_listening=True)
        every = _model(state, keys.management, f"{MODEL}/all") or default
        is_ready = _has_ready_worker(default) and _is_healthy(state, keys)
        versions = tuple(sorted(entry["modelVersion"] for entry in every))
        return Health(True, True, is_ready, default[0]["modelVersion"], versions)
    except (httpx.HTTPError, ServerError, ValueError, KeyError, IndexError, TypeError):
        return Health(is_listening=False)


def _model(state: ServerState, key: Key, name: str) -> list[dict[str, Any]] | None:
    """Return the registered versions, None when there is no such model."""
    url = f"{state.settings.addresses['management']}/models/{name}"
    reply = httpx.get(url, headers=_bearer(key), timeout=TIMEOUT, trust_env=False)
    if reply.status_code == httpx.codes.NOT_FOUND:
        return None
    versions: list[dict[str, Any]] = reply.raise_for_status().json()
    return versions


def _has_ready_worker(versions: list[dict[str, Any]]) -> bool:
    return any(worker["status"] == "READY" for worker in versions[0]["workers"])


def _is_healthy(state: ServerState, keys: Keys) -> bool:
    url = f"{state.settings.addresses['inference']}/predictions/{MODEL}"
    body = {"input": {"action": "health"}}
    reply = httpx.post(url, json=body, headers=_bearer(keys.inference), timeout=TIMEOUT, trust_env=False)
    return reply.status_code == httpx.codes.OK and reply.json().get("status") == "healthy"


def _bearer(key: Key) -> dict[str, str]:
    return {"Authorization": f"Bearer {key.value}"}
