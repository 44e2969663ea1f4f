"""`serve --foreground` and its end: SIGTERM while requests are being answered by a real TorchServe."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import grpc
import httpx
import psutil
import pytest

from model.tokenizer import Tokenizer
from server.management import Management
from server.ports import free_ports
from server.state import running_state
from tests.conftest import ROOT, write_checkpoint
from tests.e2e.callers import LONG, NUM_CLIENTS, SLOW, Callers
from tests.e2e.conftest import Server, bearer
from tests.e2e.grpc_calls import Grpc

pytestmark = [pytest.mark.e2e, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
TOKEN = "a-token-of-the-operator"


class Foreground(Server):
    """A server in the foreground of a process of its own; `lines` is what it prints."""

    process: subprocess.Popen[str]
    lines: list[str]

    def start(self, **variables: str) -> None:
        self.launch(**variables)
        while not any("NeuroQ>" in line for line in self.lines):
            assert self.process.poll() is None, self.lines
            time.sleep(0.1)
        self.status = json.loads(self.command("client", "status", "--json").stdout)

    def launch(self, **variables: str) -> None:
        self.lines = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "client", "serve", "--foreground"],
            cwd=ROOT,
            env={**self.environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def stop(self) -> None:
        self.process.kill()
        super().stop()
        self.process.wait()
        self._reader.join()

    def ended(self) -> str:
        """What it printed, once it has ended and taken TorchServe with it."""
        self.process.wait(60)
        self._reader.join()
        with suppress(psutil.NoSuchProcess):
            assert psutil.Process(self.status["pid"]).status() == psutil.STATUS_ZOMBIE
        assert not list((self.folder / "run").glob("server.json"))
        return "".join(self.lines)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            self.lines.extend(self.process.stdout)


@pytest.fixture
def start(tmp_path: Path, tokenizer: Tokenizer) -> Iterator[Callable[..., Foreground]]:
    """Starts one server with a profile and variables of its own."""
    servers: list[Foreground] = []

    def start_one(profile: str = "continuous", **variables: str) -> Foreground:
        write_checkpoint(tmp_path, tokenizer, **SLOW)
        servers.append(Foreground(tmp_path, profile))
        servers[0].start(**variables)
        return servers[0]

    yield start_one
    for server in servers:
        server.stop()


def wait_until_busy(server: Foreground, num_callers: int = NUM_CLIENTS) -> None:
    deadline = time.monotonic() + 30
    while sum(server.load()) < LONG["n"] * num_callers:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_is_in_flight_is_answered_and_what_comes_later_refused(
    start: Callable[..., Foreground], stubs: Callable[[str], ModuleType]
) -> None:
    server = start()
    calls = Grpc(server, stubs)
    callers = Callers(server.url, server.status["token"])
    with ThreadPoolExecutor() as pool:
        over_grpc = pool.submit(calls.predict, {"prompt": "はい", "session_id": "grpc", **LONG})
        wait_until_busy(server, NUM_CLIENTS + 1)
        signalled_at = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        while (health := server.post({"action": "health"})).status_code == 200:
            time.sleep(0.02)
        late = server.post({"prompt": "はい", "session_id": "late"})
        assert over_grpc.result()["status"] == "success"
    calls.close()
    answers = callers.answers()
    assert [answer.status for answer in answers] == [200] * NUM_CLIENTS
    assert all(answer.text and answer.ended_at > signalled_at for answer in answers)
    assert (health.status_code, health.json()["code"]) == (503, "stopping")
    assert (late.status_code, late.json()["code"]) == (503, "stopping")
    assert "Stopped." in server.ended()
    assert server.process.returncode == 0


def test_what_waits_for_a_worker_is_answered_too(start: Callable[..., Foreground]) -> None:
    server = start("workers")
    management = Management(running_state(server.folder / "run"))
    management.scale("1.0", 1)
    first = Callers(server.url, server.status["token"], 1)
    assert first.is_answered.wait(30)
    callers = Callers(server.url, server.status["token"])
    deadline = time.monotonic() + 30
    while not management.num_queued():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    signalled_at = time.monotonic()
    server.process.send_signal(signal.SIGINT)
    answers = first.answers() + callers.answers()
    assert [answer.status for answer in answers] == [200] * (1 + NUM_CLIENTS)
    assert all(answer.ended_at > signalled_at for answer in answers)
    assert "Stopped." in server.ended()
    assert server.process.returncode == 0


def test_a_second_signal_ends_it_at_once(start: Callable[..., Foreground]) -> None:
    server = start()
    callers = Callers(server.url, server.status["token"])
    wait_until_busy(server)
    server.process.send_signal(signal.SIGTERM)
    while not any("Stopping" in line for line in server.lines):
        time.sleep(0.01)
    server.process.send_signal(signal.SIGTERM)
    assert "neuroq: a second signal" in server.ended()
    assert server.process.returncode == 1
    assert callers.num_answered() < NUM_CLIENTS


def test_grace_that_is_over_ends_it_with_a_line(start: Callable[..., Foreground]) -> None:
    server = start(NEUROQ_GRACE="0.2")
    callers = Callers(server.url, server.status["token"])
    wait_until_busy(server)
    server.process.send_signal(signal.SIGTERM)
    assert "neuroq: the 0.2 s of grace are over" in server.ended()
    assert server.process.returncode == 1
    assert callers.num_answered() < NUM_CLIENTS


@pytest.mark.skipif(shutil.which("haproxy", path="/usr/sbin:/usr/bin") is None, reason="needs HAProxy")
def test_the_proxy_asks_for_the_operators_token_and_loses_nobody(
    start: Callable[..., Foreground], stubs: Callable[[str], ModuleType]
) -> None:
    rest, grpc_port = free_ports(2)
    ports = {"NEUROQ_PROXY_PORT": str(rest), "NEUROQ_PROXY_GRPC_PORT": str(grpc_port)}
    server = start(NEUROQ_TOKEN=TOKEN, **ports)
    address = f"http://127.0.0.1:{rest}"
    url = f"{address}/predictions/neuroq"
    for token in (server.status["token"], TOKEN.upper(), "x"):
        refused = httpx.post(url, json={"action": "health"}, headers=bearer(token), trust_env=False)
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
    with httpx.Client(base_url=address, headers=bearer(TOKEN), trust_env=False) as client:
        assert client.post("/predictions/neuroq", json={"action": "health"}).json()["status"] == "healthy"
        assert "neuroq_requests_total" in client.get("/metrics").text
        kserve = client.post("/v1/models/neuroq:predict", json={"instances": [{"prompt": "はい"}]})
        assert kserve.json()["predictions"][0]["generated"]
        assert client.get("/models").status_code == 404
    assert httpx.get(f"{address}/health", trust_env=False).text == "ready"
    assert_grpc_wants_the_token(grpc_port, stubs)
    callers = Callers(url, TOKEN)
    wait_until_busy(server)
    signalled_at = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    answers = callers.answers()
    assert [answer.status for answer in answers] == [200] * NUM_CLIENTS
    assert all(answer.ended_at > signalled_at for answer in answers)
    assert "Stopped." in server.ended()
    assert server.process.returncode == 0


def assert_grpc_wants_the_token(port: int, stubs: Callable[[str], ModuleType]) -> None:
    request = stubs("inference_pb2").PredictionsRequest(
        model_name="neuroq", input={"data": b'{"action": "health"}'}
    )
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = stubs("inference_pb2_grpc").InferenceAPIsServiceStub(channel).Predictions
        reply = call(request, metadata=(("authorization", f"Bearer {TOKEN}"),), timeout=30)
        assert json.loads(reply.prediction)["status"] == "healthy"
        with pytest.raises(grpc.RpcError) as caught:
            call(request, metadata=(("authorization", "Bearer wrong"),), timeout=30)
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_a_signal_while_it_starts_leaves_nothing(tmp_path: Path, tokenizer: Tokenizer) -> None:
    write_checkpoint(tmp_path, tokenizer)
    server = Foreground(tmp_path, "continuous")
    server.launch()
    while server.command("client", "status", check=False).returncode == 3:
        assert server.process.poll() is None, server.lines
    server.status = json.loads(server.command("client", "status", "--json", check=False).stdout)
    server.process.send_signal(signal.SIGTERM)
    assert "Stopped." in server.ended()
    assert server.process.returncode == 0
