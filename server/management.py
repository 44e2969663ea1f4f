"""TorchServe's management API of one running server, as far as releases need it.

Every method raises ServerError, one line. TorchServe does not drain: whoever unregisters a version waits
with `wait_until_idle` first.
"""

import time
from typing import Any

import httpx

from server.errors import ServerError
from server.keys import current_keys
from server.readiness import MODEL
from server.state import ServerState

TIMEOUT = 30.0
LOAD_TIMEOUT = 180.0  # more than startupTimeout in the archive's model-config.yaml
NUM_IDLE_LOOKS = 3  # a request may be on its way between TorchServe's queue and the worker


class Management:
    """Registers, changes and removes versions of the model; `name` is another model's for comparisons."""

    def __init__(self, state: ServerState) -> None:
        self._state = state

    def default_version(self) -> str:
        """Return the version that is served without a version in the path."""
        return str(self._describe("")[0]["modelVersion"])

    def versions(self, name: str = MODEL) -> list[str]:
        """Return the registered versions, none for an unknown model."""
        return [str(entry["modelVersion"]) for entry in self._describe("/all", name)]

    def num_workers(self, version: str) -> int:
        """Return how many workers a version has."""
        return len(self._describe(f"/{version}")[0]["workers"])

    def register(self, archive: str, name: str = MODEL, *, num_workers: int = 1) -> None:
        """Load an archive of the model store; returns when its workers answer. No default is changed."""
        query = {"url": archive, "model_name": name, "initial_workers": num_workers, "synchronous": "true"}
        self._call("POST", "/models", **query)

    def scale(self, version: str, num_workers: int) -> None:
        """Give a version so many workers and wait for them."""
        query = {"min_worker": num_workers, "max_worker": num_workers, "synchronous": "true"}
        self._call("PUT", f"/models/{MODEL}/{version}", **query)

    def set_default(self, version: str) -> None:
        """Serve this version to whoever names none."""
        self._call("PUT", f"/models/{MODEL}/{version}/set-default")

    def unregister(self, version: str, name: str = MODEL) -> None:
        """Remove a version at once, with what it is answering."""
        self._call("DELETE", f"/models/{name}/{version}")

    def wait_until_ready(self, version: str, seconds: float = LOAD_TIMEOUT) -> None:
        """Return when a registered version has a worker that answers."""
        deadline = time.monotonic() + seconds
        while not any(w["status"] == "READY" for w in self._describe(f"/{version}")[0]["workers"]):
            if time.monotonic() > deadline:
                raise ServerError(f"version {version} has no worker after {seconds:.0f} s; see the logs")
            time.sleep(0.2)

    def num_queued(self) -> int:
        """Return how many requests wait in TorchServe for a worker, of all versions."""
        return sum(entry["jobQueueStatus"]["pendingRequests"] for entry in self._describe("/all"))

    def wait_until_idle(self, version: str, seconds: float = 60) -> bool:
        """Wait until nobody is being answered by a version; tells whether that came true."""
        deadline, num_looks = time.monotonic() + seconds, 0
        while num_looks < NUM_IDLE_LOOKS and time.monotonic() < deadline:
            num_looks = num_looks + 1 if self._is_idle(version) else 0
            time.sleep(0.1)
        return num_looks == NUM_IDLE_LOOKS

    def _is_idle(self, version: str) -> bool:
        if self._describe(f"/{version}")[0]["jobQueueStatus"]["pendingRequests"]:
            return False
        url = f"{self._state.settings.addresses['inference']}/predictions/{MODEL}/{version}"
        key = current_keys(self._state).inference.value
        status = _request("POST", url, key, json={"action": "status"}, timeout=TIMEOUT)
        if not status.is_success:  # no worker that could be answering anybody
            return True
        return not status.json()["requests_running"] + status.json()["requests_waiting"]

    def _describe(self, path: str, name: str = MODEL) -> list[dict[str, Any]]:
        """Return TorchServe's description of the versions below a path, an empty list for no such model."""
        reply = self._send("GET", f"/models/{name}{path}")
        if reply.status_code == httpx.codes.NOT_FOUND and path == "/all":
            return []
        described: list[dict[str, Any]] = _required(reply, f"GET /models/{name}{path}").json()
        return described

    def _call(self, method: str, path: str, **query: Any) -> None:
        _required(self._send(method, path, **query), f"{method} {path}")

    def _send(self, method: str, path: str, **query: Any) -> httpx.Response:
        url = f"{self._state.settings.addresses['management']}{path}"
        return _request(method, url, current_keys(self._state).management.value, params=query)


def _request(
    method: str, url: str, key: str, *, timeout: float = LOAD_TIMEOUT, **content: Any
) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"}
    try:
        return httpx.request(method, url, headers=headers, timeout=timeout, trust_env=False, **content)
    except httpx.HTTPError as error:
        raise ServerError(f"TorchServe does not answer {method} {url}: {error}") from error


def _required(reply: httpx.Response, what: str) -> httpx.Response:
    if reply.is_success:
        return reply
    try:
        message = str(reply.json()["message"])
    except (ValueError, KeyError, TypeError):
        message = reply.text[:200]
    raise ServerError(f"TorchServe answered {reply.status_code} to {what}: {' '.join(message.split())}")
