"""Real TorchServe processes, started by the front door on free loopback ports and stopped by process id."""

from __future__ import annotations

import json
import os
import sqlite3
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from model.tokenizer import Tokenizer
from server.ports import free_ports
from tests.conftest import ROOT, write_checkpoint

PORTS = ("PORT", "MANAGEMENT_PORT", "METRICS_PORT", "GRPC_PORT", "GRPC_MANAGEMENT_PORT")
PROFILES = ("continuous", "workers")
CONTEXT_LENGTH = 512
# Nothing is encrypted here, but a client without one reads all certificates first: longer than most requests.
TLS = ssl.create_default_context()


class Server:
    """One instance of ./neuroq serve, and ways to talk to it."""

    def __init__(self, folder: Path, profile: str) -> None:
        self.folder, self.profile = folder, profile
        self.environment = {
            **os.environ,
            "NEUROQ_RUN_DIR": str(folder / "run"),
            "NEUROQ_MODEL_STORE": str(folder / "model_store"),
            "NEUROQ_CHECKPOINT_PATH": str(folder / "neuroq_checkpoint.pt"),
            "NEUROQ_PROFILE": profile,
        }
        self.environment |= dict(zip((f"NEUROQ_{p}" for p in PORTS), map(str, free_ports(5)), strict=True))
        for name in ("NEUROQ_SESSIONS_PATH", "NEUROQ_SESSION_STORE"):
            self.environment.pop(name, None)
        self.status: dict[str, Any] = {}

    def command(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def start(self, *options: str) -> None:
        self.command("client", "serve", *options)
        self.status = json.loads(self.command("client", "status", "--json").stdout)
        assert self.status["ready"], self.status

    def stop(self) -> None:
        self.command("client", "stop")

    def package(self, version: str, seed: int, tokenizer: Tokenizer) -> str:
        """Put another random model into the model store; return the archive's name."""
        checkpoint = write_checkpoint(
            self.folder / version, tokenizer, seed=seed, context_length=CONTEXT_LENGTH
        )
        name = f"neuroq-{version}.mar"
        output = self.folder / "model_store" / name
        places = ["--checkpoint_path", str(checkpoint), "--output", str(output)]
        self.command("train.package", *places, "--version", version, "--profile", self.profile)
        return name

    @property
    def url(self) -> str:
        return f"{self.status['addresses']['inference']}/predictions/neuroq"

    @property
    def management_url(self) -> str:
        return f"{self.status['addresses']['management']}/models"

    def client(self) -> httpx.Client:
        """A client with the inference token; for the management API pass `self.management` as headers."""
        limits = httpx.Limits(max_connections=100)
        headers = bearer(self.status["token"])
        return httpx.Client(headers=headers, timeout=120, limits=limits, verify=TLS, trust_env=False)

    @property
    def management(self) -> dict[str, str]:
        return bearer(self.status["management_token"])

    def post(self, body: Any, version: str = "") -> httpx.Response:
        """Send a decoded body as JSON, or bytes as they are."""
        url = f"{self.url}/{version}" if version else self.url
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        with self.client() as client:
            return client.post(url, content=content, headers={"Content-Type": "application/json"})

    def generate(self, prompt: str, **parameters: Any) -> dict[str, Any]:
        reply = self.post({"prompt": prompt, **parameters})
        assert reply.status_code == 200, reply.text
        body: dict[str, Any] = reply.json()
        return body

    def stream(self, prompt: str, **parameters: Any) -> list[dict[str, Any]]:
        """The events of a streamed generation."""
        body = {"prompt": prompt, "stream": True, **parameters}
        with self.client() as client, client.stream("POST", self.url, json=body) as reply:
            assert reply.status_code == 200, reply.read()
            assert reply.headers["content-type"] == "text/event-stream"
            return [json.loads(event) for event in events(reply)]

    def load(self) -> tuple[int, int]:
        """Requests running and waiting."""
        status = self.post({"action": "status"}).json()
        return status["requests_running"], status["requests_waiting"]

    def wait_until_idle(self, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while (load := self.load()) != (0, 0):
            assert time.monotonic() < deadline, load
            time.sleep(0.1)

    def describe(self, version: str = "") -> dict[str, Any]:
        """The management API's description of a version, the default one without a name."""
        url = f"{self.management_url}/neuroq" + (f"/{version}" if version else "")
        reply = httpx.get(url, headers=self.management, timeout=60, trust_env=False)
        assert reply.status_code == 200, reply.text
        description: dict[str, Any] = reply.json()[0]
        return description

    def forget_conversations(self) -> None:
        """Drop every conversation that no request holds."""
        with closing(sqlite3.connect(self.folder / "run" / "sessions.db", timeout=30)) as database, database:
            database.execute("DELETE FROM sessions WHERE holder IS NULL")

    def ready_workers(self, version: str = "") -> list[int]:
        """Process ids of the READY workers."""
        return [w["pid"] for w in self.describe(version)["workers"] if w["status"] == "READY"]


def events(reply: httpx.Response) -> Iterator[str]:
    """The data of server-sent events; nothing else may be in the stream."""
    for line in reply.iter_lines():
        if line:
            assert line.startswith("data: "), line
            yield line.removeprefix("data: ")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


_running: set[Server] = set()


@pytest.fixture(autouse=True)
def no_conversations() -> None:
    """Tests share servers, and a session of the same name would put another test's turns before a prompt."""
    for server in _running:
        server.forget_conversations()


def serve(folder: Path, profile: str, tokenizer: Tokenizer, **changes: Any) -> Iterator[Server]:
    write_checkpoint(folder, tokenizer, **{"context_length": CONTEXT_LENGTH, **changes})
    server = Server(folder, profile)
    try:
        server.start()
        _running.add(server)
        yield server
    finally:
        _running.discard(server)
        server.stop()


@pytest.fixture(scope="session")
def continuous(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Iterator[Server]:
    yield from serve(tmp_path_factory.mktemp("continuous"), "continuous", tokenizer)


@pytest.fixture(scope="session")
def workers(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Iterator[Server]:
    yield from serve(tmp_path_factory.mktemp("workers"), "workers", tokenizer)


@pytest.fixture(params=PROFILES)
def server(request: pytest.FixtureRequest) -> Server:
    """A running server of each profile, shared by the tests."""
    running: Server = request.getfixturevalue(request.param)
    return running


@pytest.fixture
def own_server(tmp_path: Path, tokenizer: Tokenizer) -> Iterator[Server]:
    """A server that a test may break."""
    yield from serve(tmp_path, "continuous", tokenizer)
