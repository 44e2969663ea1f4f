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


class NeuroQError(Exception):
    """The server refused or could not be reached: its code, message and HTTP status (0: not reached)."""

    def __init__(self, code: str, message: str, status: int = 0) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message
        self.status = status


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
        with _told_as_ours(), self._http.stream("POST", self._path, json=body) as response:
            if not response.is_success:
                response.read()
                _reply(response)
            event: dict[str, Any] = {}
            with suppress(httpx.HTTPError):  # a break in the middle is told below
                for line in response.iter_lines():
                    if line.startswith(EVENT):
                        event = json.loads(line.removeprefix(EVENT))
                        yield _checked(event, response)
            if "finish_reason" not in event:
                message = "the server broke off in the middle of the reply"
                raise NeuroQError("interrupted", message, response.status_code)

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
        with _told_as_ours():
            response = self._http.post(self._path, json={"input": {"action": action, **fields}})
        return _reply(response)


@contextmanager
def _told_as_ours() -> Iterator[None]:
    try:
        yield
    except httpx.TimeoutException as error:
        raise NeuroQError("timeout", "the server did not answer in time") from error
    except httpx.HTTPError as error:
        raise NeuroQError("unreachable", f"cannot reach the server: {error}") from error


def _reply(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise NeuroQError("not_json", f"the server answered {response.text[:200]!r}", response.status_code)
    return _checked(body, response)


def _checked(body: dict[str, Any], response: httpx.Response) -> dict[str, Any]:
    """Return the body of a success; raise the error of another."""
    if response.is_success and body.get("status") != "error":
        return body
    # The handler says {"code", "error"}; TorchServe itself {"code": 503, "type", "message"}.
    code = body.get("type") or body.get("code") or response.status_code
    message = body.get("error") or body.get("message") or response.reason_phrase
    raise NeuroQError(str(code), str(message), response.status_code)
