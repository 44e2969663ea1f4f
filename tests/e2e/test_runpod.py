"""RunPod's worker before a real TorchServe: the `runpod` package's local API server, and its worker loop."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest

from model.tokenizer import Tokenizer
from server.ports import free_ports
from tests.conftest import ROOT, write_checkpoint
from tests.e2e.conftest import Server
from tests.e2e.runpod_platform import Platform, wait_until

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(find_spec("runpod") is None, reason="the runpod package needs Python 3.11"),
]
PAGE = ROOT / "docs" / "runpod.md"
START = ROOT / "deploy" / "runpod" / "start.sh"
LONG = {"max_length": 400, "temperature": 2.0, "top_k": 0, "top_p": 1.0, "n": 8}


@contextmanager
def worker_process(server: Server, *options: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker beside the server; what it prints goes to its log file in the server's folder."""
    command = [sys.executable, "-m", "deploy.runpod", *options]
    with (server.folder / "runpod.log").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**server.environment, **variables}, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class LocalApi:
    """The addresses of RunPod's API on this machine."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._http = httpx.Client(base_url=self.url, timeout=120, trust_env=False)

    def post(self, path: str, **inner: Any) -> dict[str, Any]:
        reply = self._http.post(path, json={"input": inner} if inner else None)
        assert reply.status_code == 200, reply.text
        body: dict[str, Any] = reply.json()
        return body

    def close(self) -> None:
        self._http.close()

    def is_up(self) -> bool:
        try:
            return self._http.get("/openapi.json").status_code == 200
        except httpx.HTTPError:
            return False

    def runsync(self, **inner: Any) -> Any:
        """The one item of a job's output."""
        done = self.post("/runsync", **inner)
        assert done["status"] == "COMPLETED", done
        (item,) = done["output"]
        return item

    def stream(self, job_id: str) -> list[dict[str, Any]]:
        """All items that a job gave."""
        done = self.post(f"/stream/{job_id}")
        assert done["status"] == "COMPLETED", done
        return [item["output"] for item in done["stream"]]


@pytest.fixture(scope="module")
def api(continuous: Server) -> Iterator[LocalApi]:
    (port,) = free_ports(1)
    options = ["--rp_serve_api", "--rp_api_host", "127.0.0.1", "--rp_api_port", str(port)]
    with worker_process(continuous, *options) as process:
        local = LocalApi(port)
        wait_until(lambda: local.is_up() or process.poll() is not None)
        assert process.poll() is None, (continuous.folder / "runpod.log").read_text()
        yield local
        local.close()


@pytest.fixture(scope="module")
def platform(continuous: Server) -> Iterator[Platform]:
    running = Platform()
    try:
        with worker_process(continuous, **running.environment):
            wait_until(running.is_asked.is_set)  # before that it asks TorchServe, which tests may halt
            yield running
    finally:
        running.close()


@contextmanager
def halted(server: Server) -> Iterator[None]:
    """TorchServe's worker stands still: whatever is asked meanwhile is still unanswered."""
    workers = server.ready_workers()
    try:
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)


def comparable(reply: dict[str, Any]) -> dict[str, Any]:
    """A reply without what depends on the conversation's name and on what the cache still held."""
    usage = {name: count for name, count in reply["usage"].items() if name.endswith("_tokens")}
    return {**reply, "session_id": "", "usage": usage}


def has_history(server: Server, session_id: str) -> bool:
    """Whether a conversation has a turn: its prompt is longer then than one without."""
    names = (session_id, f"no-{session_id}")
    replies = [server.generate("次", session_id=name, max_length=1) for name in names]
    return bool(replies[0]["usage"]["prompt_tokens"] != replies[1]["usage"]["prompt_tokens"])


def test_the_seed_guides_requests_as_they_stand(api: LocalApi, continuous: Server) -> None:
    assert api.runsync(action="health")["status"] == "healthy"
    assert api.runsync(action="status")["initialized"] is True
    reply = api.runsync(action="generate", prompt="こんにちは", max_length=50, temperature=0.5)
    assert (reply["status"], reply["prompt"]) == ("success", "こんにちは")
    reply = api.runsync(action="generate", prompt="続きを教えて", session_id="user_123")
    assert (reply["status"], reply["session_id"]) == ("success", "user_123")
    assert api.runsync(action="clear_session", session_id="default")["status"] == "success"
    train = {"action": "train", "epochs": 25, "batch_size": 16, "lr": 0.002, "seq_length": 48}
    refusal = json.loads(api.runsync(**train)["error"])
    assert refusal == continuous.post(train).json()
    assert refusal["code"] == "train_disabled"


@pytest.mark.parametrize(
    "parameters",
    [
        {"max_length": 60},
        {"max_length": 1, "stream": False},
        {"max_length": 60, "n": 3, "temperature": 1.5, "logprobs": 2},
        {"max_length": 60, "logprobs": 0, "stop": ["、", "。"], "temperature": 1.5},
    ],
)
def test_a_reply_is_the_servers_own(api: LocalApi, continuous: Server, parameters: dict[str, Any]) -> None:
    body = {"prompt": "はい", "seed": 8, **parameters}
    names = [uuid.uuid4().hex for _ in range(2)]
    ours = api.runsync(action="generate", session_id=names[0], **body)
    assert comparable(ours) == comparable(continuous.generate(session_id=names[1], **body))


def test_run_and_status(api: LocalApi) -> None:
    started = api.post("/run", prompt="はい", seed=3, session_id="run")
    assert started["status"] == "IN_PROGRESS"
    done = api.post(f"/status/{started['id']}")
    assert (done["status"], done["output"][0]["seed"]) == ("COMPLETED", 3)
    assert api.post(f"/status/{started['id']}")["error"] == "Job ID not found"


def test_run_and_stream(api: LocalApi, continuous: Server) -> None:
    body = {"prompt": "はい", "seed": 8, "max_length": 400, "temperature": 2.0, "top_k": 0, "top_p": 1.0}
    *pieces, last = api.stream(api.post("/run", stream=True, session_id="streamed", **body)["id"])
    whole = continuous.generate(session_id="unstreamed", **body)
    assert len(pieces) > 1
    assert "".join(piece["delta"] for piece in pieces) == whole["generated"]
    assert last["finish_reason"] == whole["finish_reason"]


@pytest.mark.parametrize(
    "inner",
    [
        {"prompt": ""},
        {"prompt": "x", "max_length": -1, "stream": True},
        {"prompt": "x", "stream": "yes"},
        {"prompt": "x", "no_such": 1},
        {"prompt": "\ud800"},
        {"prompt": "長い話" * 300},
        {"action": "sing"},
        {"action": ["generate"]},
    ],
)
def test_a_refusal_is_the_servers_own(api: LocalApi, continuous: Server, inner: dict[str, Any]) -> None:
    text = json.dumps({"input": {**inner, "session_id": "refused"}}).encode()
    headers = {"Content-Type": "application/json"}
    reply = httpx.post(f"{api.url}/runsync", content=text, headers=headers, timeout=60, trust_env=False)
    (item,) = reply.json()["output"]
    refusal = continuous.post(text)
    assert refusal.status_code == 400
    assert json.loads(item["error"]) == refusal.json()


def test_a_running_job_is_cancelled(api: LocalApi, continuous: Server) -> None:
    """A fast machine may be done with it before it is cancelled: then it is tried again."""
    for number in range(20):
        session = f"cancelled-{number}"
        job_id = api.post("/run", prompt="はい", session_id=session, **LONG)["id"]
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(api.stream, job_id)
            while not running.done() and continuous.load() == (0, 0):
                pass
            cancelled = api.post(f"/cancel/{job_id}")
            last = running.result()[-1]
        continuous.wait_until_idle()
        if "error" in last and not has_history(continuous, session):
            break
    assert json.loads(last["error"])["code"] == "cancelled"
    assert cancelled == {"id": job_id, "status": "CANCELLED"}
    assert not has_history(continuous, session)


def test_a_waiting_job_is_cancelled(api: LocalApi) -> None:
    job_id = api.post("/run", prompt="はい")["id"]
    assert api.post(f"/cancel/{job_id}")["status"] == "CANCELLED"
    for path in (f"/stream/{job_id}", f"/cancel/{job_id}", "/cancel/unknown"):
        assert api.post(path)["status"] == "FAILED"


def test_the_pages_commands(api: LocalApi) -> None:
    """Each curl of the page, one after the other, with the id that /run gave."""
    commands = re.findall(r"^    (curl (?:[^\\\n]|\\\n)+)$", PAGE.read_text(encoding="utf-8"), re.M)
    assert len(commands) == 7
    direct = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    job_id = ""
    for command in commands:
        line = command.replace("http://localhost:8000", api.url).replace("JOB", job_id)
        done = subprocess.run(["bash", "-c", line], env=direct, capture_output=True, text=True, check=True)
        reply = json.loads(done.stdout)
        assert "error" not in reply, (line, reply)
        job_id = reply["id"]


def test_the_platforms_jobs_run_together(platform: Platform, continuous: Server) -> None:
    bodies = {f"together-{i}": {"prompt": "はい", "seed": i, "max_length": 30} for i in range(6)}
    bodies["together-0"]["stream"] = True
    with halted(continuous):
        for job_id, body in bodies.items():
            platform.submit(job_id, session_id=job_id, **body)
        wait_until(lambda: bodies.keys() <= platform.taken)
        assert not bodies.keys() & platform.results.keys()
    for job_id, body in bodies.items():
        output = platform.result(job_id)["output"]
        assert output == platform.pieces[job_id]
        text = output[0]["generated"] if "stream" not in body else "".join(e.get("delta", "") for e in output)
        whole = continuous.generate(**{**body, "stream": False, "session_id": f"its-{job_id}"})
        assert text == whole["generated"]


def test_the_platform_is_told_of_an_error(platform: Platform, continuous: Server) -> None:
    platform.submit("bad", action="generate")
    refusal = continuous.post({"action": "generate"}).json()
    result = platform.result("bad")
    assert json.loads(result["error"]) == refusal
    assert "output" not in result


def test_the_platform_stops_one_job_of_two(platform: Platform, continuous: Server) -> None:
    with halted(continuous):
        platform.submit("stopped", prompt="はい", session_id="stopped", **LONG)
        platform.submit("other", prompt="はい", session_id="other", max_length=5)
        wait_until(lambda: {"stopped", "other"} <= platform.taken)
        platform.stop_job("stopped")
    assert platform.result("other")["output"][0]["status"] == "success"
    continuous.wait_until_idle()
    assert "stopped" not in platform.results
    assert not has_history(continuous, "stopped")


def test_a_worker_that_is_told_to_end_finishes_its_jobs(continuous: Server) -> None:
    own = Platform()
    try:
        with worker_process(continuous, **own.environment) as process:
            own.gate.clear()
            own.submit("last", prompt="はい", session_id="last", stream=True)
            wait_until(lambda: "last" in own.pieces)
            process.terminate()
            own.gate.set()
            assert own.result("last")["output"][-1]["finish_reason"]
            assert process.wait(60) == 0
    finally:
        own.gate.set()
        own.close()


def test_the_containers_program_ends_with_its_server(tmp_path: Path) -> None:
    """Here the server cannot start: its port is taken. The worker waits for it, and must not go on."""
    variables = {**Server(tmp_path, "continuous").environment, "NEUROQ_RUNPOD_PYTHON": sys.executable}
    variables["PATH"] = f"{Path(sys.executable).parent}:{variables['PATH']}"
    with socket.create_server(("127.0.0.1", int(variables["NEUROQ_PORT"]))):
        done = subprocess.run([START], env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stderr


def test_the_containers_program_serves_and_ends(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """It takes a job as soon as TorchServe answers; at SIGTERM it ends with 0 and leaves nothing behind."""
    write_checkpoint(tmp_path, tokenizer, context_length=64)
    server, platform = Server(tmp_path, "continuous"), Platform()
    variables = {**server.environment, **platform.environment, "NEUROQ_RUNPOD_PYTHON": sys.executable}
    variables["PATH"] = f"{Path(sys.executable).parent}:{variables['PATH']}"
    platform.submit("first", action="generate", prompt="こんにちは", max_length=5)
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([START], env=variables, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until(lambda: "first" in platform.results or process.poll() is not None, seconds=300)
        assert platform.result("first")["output"][0]["status"] == "success"
        process.terminate()
        assert process.wait(60) == 0, (tmp_path / "log").read_text()
        assert not (tmp_path / "run" / "server.json").exists()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        server.stop()
        platform.close()
