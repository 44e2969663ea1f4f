"""`./neuroq serve --foreground`: what a container or a service manager starts, watches and signals.

At SIGTERM or SIGINT nobody new is let in, those who are being answered get their answers, and it ends with
exit code 0. It ends with 1 when the grace period ran out before that, at a second signal, and when TorchServe
or the proxy ended by itself. As process 1 of a container it also collects the processes of others that ended.
"""

import os
import signal
import time
from contextlib import suppress
from types import FrameType

import click

from client.serving import only_one, prepare, show_exchange, start_and_wait
from server.drain import drain, wait_for_queue
from server.errors import ServerError
from server.logs import LogMark
from server.management import Management
from server.process import STOP_TIMEOUT, stop
from server.proxy import Proxy, read_proxy_settings
from server.settings import Mode, Settings
from server.state import ServerState

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
LOOK = 0.5  # seconds between two looks at the processes


class StopRequested(BaseException):
    """A signal asked for the end. Like KeyboardInterrupt it is no error that anybody handles on the way."""


class Foreground:
    """One server, and the proxy before it if the operator gave a token, for as long as this process lives."""

    def __init__(self, settings: Settings, grace: float) -> None:
        """Raises SettingsError for a token or an address of the proxy that cannot be used."""
        self._settings, self._grace = settings, grace
        self._proxy_settings = read_proxy_settings(os.environ)
        self._proxy: Proxy | None = None
        self._state: ServerState | None = None  # once it has answered

    def run(self, version: str) -> None:
        """Serve until a signal comes. Raises ServerError when requests were lost, or the server was."""
        with only_one(self._settings.run_dir):
            released = prepare(self._settings, version)
        _on_stop_signals(_request_stop)
        try:
            try:
                state, mark = self._start(released)
                self._watch(state, mark)
            except StopRequested:
                self._drain()
            self._end(STOP_TIMEOUT)
        except StopRequested:
            raise ServerError("a second signal: ended at once, requests in flight were lost") from None
        finally:
            _on_stop_signals(signal.SIG_IGN)
            self._end(0)
        click.echo("Stopped.")

    def _start(self, released_version: str | None) -> tuple[ServerState, LogMark]:
        mode = Mode(in_foreground=True, is_proxied=self._proxy_settings is not None)
        with only_one(self._settings.run_dir):
            state, mark = start_and_wait(self._settings, released_version, mode)
        self._state = state
        show_exchange(self._settings)
        for name, address in self._addresses(state).items():
            click.echo(f"  {name:16} {address}")
        return state, mark

    def _addresses(self, state: ServerState) -> dict[str, str]:
        if self._proxy_settings is None:
            return state.settings.addresses
        self._proxy = Proxy(self._proxy_settings, state, self._grace)
        host = self._proxy_settings.proxy_host
        ports = {"REST": self._proxy_settings.proxy_port, "gRPC": self._proxy_settings.proxy_grpc_port}
        return {name: f"{host}:{port}" for name, port in ports.items()}

    def _watch(self, state: ServerState, mark: LogMark) -> None:
        while True:
            time.sleep(LOOK)
            _collect_children()
            if not state.is_alive:
                raise ServerError(f"TorchServe ended:\n{mark.explanation()}")
            if self._proxy and not self._proxy.is_alive:
                raise ServerError("HAProxy ended; it says why in the lines above")

    def _drain(self) -> None:
        if self._state is None:
            return
        click.echo(f"Stopping: requests in flight have {self._grace:g} s.")
        deadline = time.monotonic() + self._grace
        is_empty = self._proxy is None or self._proxy.close(self._grace)
        wait_for_queue(Management(self._state), self._grace / 2)
        if not is_empty or not drain(self._settings, max(0.0, deadline - time.monotonic())):
            raise ServerError(f"the {self._grace:g} s of grace are over, requests in flight were lost")

    def _end(self, seconds: float) -> None:
        """End proxy and server; kill what is not gone by itself in time."""
        if self._proxy:
            self._proxy.kill()
        stop(self._settings.run_dir, seconds)


def serve_in_foreground(settings: Settings, version: str, grace: float) -> None:
    """Serve, and stay until SIGTERM or SIGINT; `grace` is in seconds. Raises ServerError."""
    Foreground(settings, grace).run(version)


def _on_stop_signals(action: object) -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, action)  # type: ignore[arg-type]


def _request_stop(_number: int, _frame: FrameType | None) -> None:
    raise StopRequested


def _collect_children() -> None:
    """Let no child stay a zombie; as process 1 we inherit those whose parent is gone, too."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
