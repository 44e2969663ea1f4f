"""HAProxy before TorchServe, for a server that others reach: it knows the operator's token.

TorchServe makes up its own token at every start. So it stays on loopback, and HAProxy (haproxy.cfg) asks
callers for the operator's token and puts TorchServe's in its place. When it is closed it takes no new
connection, and ends once every request that it has is answered.
"""

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL, SIGUSR1

from server.errors import ServerError, SettingsError
from server.keys import current_keys
from server.ports import why_not_bindable
from server.settings import LOOPBACK, Option, option_value, parse_host, parse_port
from server.state import ServerState

CONFIG = Path(__file__).with_name("haproxy.cfg")
TOKEN, TOKEN_FILE = "NEUROQ_TOKEN", "NEUROQ_TOKEN_FILE"
TOKEN_PATTERN = re.compile(r"[!-~]{16,256}")
START_TIMEOUT = 10.0
PR_SET_PDEATHSIG = 1
OPTIONS = (
    Option("proxy_host", LOOPBACK, "Where the proxy listens.", parse_host),
    Option("proxy_port", "8000", "The proxy's REST API.", parse_port),
    Option("proxy_grpc_port", "7000", "The proxy's gRPC API.", parse_port),
)


@dataclass(frozen=True)
class ProxySettings:
    """Where the proxy listens, and the token that it asks for."""

    token: str = field(repr=False)
    proxy_host: str
    proxy_port: int
    proxy_grpc_port: int


def read_proxy_settings(environment: Mapping[str, str]) -> ProxySettings | None:
    """Return the settings, None when nothing asks for a proxy. Raises SettingsError, one line."""
    token = _read_token(environment)
    if token is None:
        asked_for = [option.variable for option in OPTIONS if environment.get(option.variable)]
        if asked_for:  # never a door without a lock
            raise SettingsError(f"{TOKEN} or {TOKEN_FILE} must be set, because {asked_for[0]} is")
        return None
    return ProxySettings(token, **{option.field: option_value(option, {}, environment) for option in OPTIONS})


def _read_token(environment: Mapping[str, str]) -> str | None:
    text, path = environment.get(TOKEN), environment.get(TOKEN_FILE)
    if text and path:
        raise SettingsError(f"{TOKEN} and {TOKEN_FILE} are both set; one is enough")
    if path:
        try:
            text = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise SettingsError(f"{TOKEN_FILE} cannot be read: {error}") from error
    elif not text:
        return None
    if not TOKEN_PATTERN.fullmatch(text):
        raise SettingsError(f"{TOKEN_FILE if path else TOKEN} must be 16 to 256 ASCII characters, no spaces")
    return text


class Proxy:
    """A running HAProxy."""

    def __init__(self, settings: ProxySettings, state: ServerState, grace: float) -> None:
        """Start it, and return when it listens. Raises ServerError."""
        for port in (settings.proxy_port, settings.proxy_grpc_port):
            reason = why_not_bindable(settings.proxy_host, port)
            if reason:
                raise ServerError(f"the proxy cannot listen at {settings.proxy_host}:{port} ({reason})")
        program = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if program is None:
            raise ServerError(
                f"{TOKEN} needs HAProxy, and there is none (Debian, Ubuntu: apt install haproxy)"
            )
        self._process = subprocess.Popen(
            [program, "-db", "-f", str(CONFIG)],
            env=proxy_environment(settings, state, grace),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us alone
            preexec_fn=_end_with_parent,  # noqa: PLW1509  # there are no other threads
        )
        self._wait_until_it_listens(settings)

    @property
    def is_alive(self) -> bool:
        """Tell whether it still runs."""
        return self._process.poll() is None

    def close(self, seconds: float) -> bool:
        """Take no new connection and wait until every request is answered; tells whether that came true."""
        self._process.send_signal(SIGUSR1)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()

    def _wait_until_it_listens(self, settings: ProxySettings) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not why_not_bindable(settings.proxy_host, settings.proxy_port):
            if not self.is_alive or time.monotonic() > deadline:
                self.kill()
                raise ServerError("HAProxy does not start; it says why in the lines above")
            time.sleep(0.05)


def proxy_environment(settings: ProxySettings, state: ServerState, grace: float) -> dict[str, str]:
    """Return what haproxy.cfg reads: of the operator's token only a hash."""
    addresses = state.settings.addresses
    expected = hashlib.sha256(f"Bearer {settings.token}".encode()).hexdigest().upper()
    return {
        "REST": f"{settings.proxy_host}:{settings.proxy_port}",
        "GRPC": f"{settings.proxy_host}:{settings.proxy_grpc_port}",
        "AUTHORIZATION_SHA256": expected,
        "TORCHSERVE_REST": addresses["inference"].removeprefix("http://"),
        "TORCHSERVE_GRPC": addresses["grpc_inference"],
        "TORCHSERVE_METRICS": addresses["metrics"].removeprefix("http://"),
        "TORCHSERVE_TOKEN": current_keys(state).inference.value,
        "GRACE_MILLISECONDS": str(max(1, round(grace * 1000))),
    }


def _end_with_parent() -> None:
    """Ask Linux to end this process with its parent, however that ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL)
