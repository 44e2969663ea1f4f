"""The TorchServe in this container, asked over loopback with the token of its run folder."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from client.api import (
    DEFAULT_TIMEOUT,
    EVENT,
    PATH,
    NeuroQError,
    checked,
    reply,
    require_end,
    told_as_ours,
)
from server.errors import ServerError
from server.keys import current_keys
from server.readiness import probe
from server.state import read_state, running_state

STREAM_TYPE = "text/event-stream"
LOOK = 0.5  # seconds between two looks at a server that starts


class TorchServe:
    """Asks the server that runs from a folder, also when it was restarted in between."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        # RunPod, not this client, bounds the number of jobs; a proxy in the environment is for elsewhere.
        unlimited = httpx.Limits(max_connections=None)
        self._http = httpx.AsyncClient(timeout=DEFAULT_TIMEOUT, limits=unlimited, trust_env=False)

    async def answers(self, request: object) -> AsyncIterator[dict[str, Any]]:
        """Give a stream's events as they come, or the one reply. Raises NeuroQError.

        Whoever stops listening to a stream ends it: TorchServe sees that the connection is closed.
        """
        url, headers = self._door()
        # Escaped: what is no Unicode, or no number, is the server's to refuse.
        body = json.dumps({"input": request}).encode()
        with told_as_ours():
            async with self._http.stream("POST", url, content=body, headers=headers) as response:
                if response.headers.get("Content-Type") != STREAM_TYPE:
                    await response.aread()
                    yield reply(response)
                    return
                event: dict[str, Any] = {}
                with suppress(httpx.HTTPError):  # a break in the middle is told below
                    async for line in response.aiter_lines():
                        if line.startswith(EVENT):
                            event = json.loads(line.removeprefix(EVENT))
                            yield checked(event, response)
                require_end(event, response)

    def _door(self) -> tuple[str, dict[str, str]]:
        """Return the address and the headers of a request; the token is renewed when it is about to end."""
        try:
            state = running_state(self._run_dir)
            token = current_keys(state).inference.value
        except ServerError as error:
            raise NeuroQError("unreachable", str(error)) from error
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        return state.settings.addresses["inference"] + PATH, headers


def wait_until_ready(run_dir: Path, seconds: float) -> None:
    """Return when the server answers. Raises ServerError when it does not in that time."""
    deadline = time.monotonic() + seconds
    while not _is_ready(run_dir):
        if time.monotonic() > deadline:
            raise ServerError(f"no server that answers runs from {run_dir} after {seconds:g} s")
        time.sleep(LOOK)


def _is_ready(run_dir: Path) -> bool:
    state = read_state(run_dir)
    return state is not None and state.is_alive and probe(state).is_ready
