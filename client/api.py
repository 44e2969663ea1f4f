"""A small Python client of a running server.

with NeuroQClient("http://127.0.0.1:8080", token) as client:
    print(client.generate("こんにちは")["generated"])
    for event in client.stream("こんにちは"):
        print(event.get("delta", ""), end="", flush=True)
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

import httpx

DEFAULT_TIMEOUT = 120.0
PATH = "/predictions/neuroq"
EVENT = "data: "
ERROR_FIELDS = ("status", "code", "error", "type", "message")


class NeuroQError(Exception):
    """The server refused or could not be reached: its code, message and HTTP status (0: not reached).

    `details` is what the error says beside them, such as `available_actions`.
    """

    def __init__(
        self, code: str, message: str, status: int = 0, details: dict[str, Any] | None = None
    ) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message
        self.status = status
        self.details = details or {}


class NeuroQClient:
    """Calls the actions of one server over HTTP. Every method raises NeuroQError."""

    def __init__(
        self, base_url: str, token: str, timeout: float = DEFAULT_TIMEOUT, *, path: str = PATH
    ) -> None:
        self._path = path
        headers = {"Authorization": f"Bearer {token}"}
        # A proxy in the environment is for the world outside, not for this machine's loopback.
        self._http = httpx.Client(base_url=base_url, headers=headers, timeout=timeout, trust_env=False)

    def __enter__(self) -> "NeuroQClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def generate(self, prompt: str, **parameters: Any) -> dict[str, Any]:
        """Return the reply to a prompt; its `generated` is the text. Parameters are the server's."""
        return self.call("generate", prompt=prompt, **parameters)

    def stream(self, prompt: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        """Give the reply's events as they come: pieces of text under `delta`, then one with the counts.

        Whoever stops listening ends the reply; such a reply does not count in the conversation.
        """
        body = {"input": {"action": "generate", "prompt": prompt, "stream": True, **parameters}}
        with told_as_ours(), self._http.stream("POST", self._path, json=body) as response:
            if not response.is_success:
                response.read()
                reply(response)
            event: dict[str, Any] = {}
            with suppress(httpx.HTTPError):  # a break in the middle is told below
                for line in response.iter_lines():
                    if line.startswith(EVENT):
                        event = json.loads(line.removeprefix(EVENT))
                        yield checked(event, response)
            require_end(event, response)

    def status(self) -> dict[str, Any]:
        """Return what the model says of itself: version, lineage, requests, sessions."""
        return self.call("status")

    def health(self) -> dict[str, Any]:
        """Return whether the worker is well; touches no model."""
        return self.call("health")

    def clear_session(self, session_id: str) -> dict[str, Any]:
        """Forget a conversation; an unknown one is no error."""
        return self.call("clear_session", session_id=session_id)

    def call(self, action: str, **fields: Any) -> dict[str, Any]:
        """Send one action and return its reply."""
        with told_as_ours():
            response = self._http.post(self._path, json={"input": {"action": action, **fields}})
        return reply(response)


@contextmanager
def told_as_ours() -> Iterator[None]:
    """Raise NeuroQError for what httpx raises."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise NeuroQError("timeout", "the server did not answer in time") from error
    except httpx.HTTPError as error:
        raise NeuroQError("unreachable", f"cannot reach the server: {error}") from error


def reply(response: httpx.Response) -> dict[str, Any]:
    """Return the body of a whole reply; raises NeuroQError for another's."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise NeuroQError("not_json", f"the server answered {response.text[:200]!r}", response.status_code)
    return checked(body, response)


def checked(body: dict[str, Any], response: httpx.Response) -> dict[str, Any]:
    """Return the body of a success, or a stream's event; raises NeuroQError for another."""
    if response.is_success and body.get("status") != "error":
        return body
    # The handler says {"code", "error"}; TorchServe itself {"code": 503, "type", "message"}.
    code = body.get("type") or body.get("code") or response.status_code
    message = body.get("error") or body.get("message") or response.reason_phrase
    details = {name: value for name, value in body.items() if name not in ERROR_FIELDS}
    raise NeuroQError(str(code), str(message), response.status_code, details)


def require_end(last_event: dict[str, Any], response: httpx.Response) -> None:
    """Raise NeuroQError where a stream ended with another event than its last one."""
    if "finish_reason" not in last_event:
        message = "the server broke off in the middle of the reply"
        raise NeuroQError("interrupted", message, response.status_code)
