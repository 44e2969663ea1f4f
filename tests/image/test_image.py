"""The image, built and run here: who it runs as, what it holds, what it answers, how it ends.

Some ten minutes, so only on demand: NEUROQ_TEST_IMAGE=1 ./neuroq test tests/image -s
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import grpc
import httpx
import pytest

from model.checkpoint import Checkpoint
from model.tokenizer import Tokenizer
from server.settings import SHIPPED_CHECKPOINT
from tests.conftest import ROOT, write_checkpoint
from tests.e2e.callers import LONG, SLOW, Callers
from tests.e2e.conftest import bearer
from tests.image.container import TOKEN, USER_ID, Container, Image

TOOLS = ("buildah", "debootstrap", "unshare")
MISSING = [tool for tool in TOOLS if shutil.which(tool) is None or os.geteuid() != 0]
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(3600),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.skipif(not os.environ.get("NEUROQ_TEST_IMAGE"), reason="only with NEUROQ_TEST_IMAGE=1"),
    pytest.mark.skipif(bool(MISSING), reason=f"needs root and {', '.join(MISSING)}"),
]
# Folders and files of training, tests, and what only building needs.
STRANGERS = {
    "train",
    "corpus",
    "tests",
    "checkpoints",
    "pretrained",
    "pip",
    "matplotlib",
    "tensorboard",
    "rich",
    "cc1plus",
}
STRANGERS |= {"g++", "gcc", "neuroq_checkpoint.pt", "checkpoint.pt"}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Iterator[Image]:
    context = tmp_path_factory.mktemp("context")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, context / name)
    slow = Checkpoint.load(write_checkpoint(tmp_path_factory.mktemp("checkpoint"), tokenizer, **SLOW))
    replace(slow, tokenizer_model=tokenizer.model_bytes).save(context / SHIPPED_CHECKPOINT)
    kept = os.environ.get("NEUROQ_IMAGE_STORAGE")  # keeps the base image for the next time
    image = Image(Path(kept) if kept else tmp_path_factory.mktemp("storage"))
    image.build(context)
    yield image
    if not kept:
        image.remove()


@pytest.fixture
def container(image: Image, tmp_path: Path) -> Iterator[Container]:
    running = Container(image, tmp_path)
    yield running
    running.remove()


def test_it_serves_only_and_says_how_large_it_is(image: Image) -> None:
    layers = image.layers()
    for layer in layers:
        print(f"{layer.num_bytes / 1e6:8.1f} MB  {layer.created_by}")
    print(f"{sum(layer.num_bytes for layer in layers) / 1e6:8.1f} MB  in all")
    root = image.root()
    mine = [path for top in ("opt", "models", "usr/bin", "usr/lib/gcc") for path in (root / top).rglob("*")]
    # torch has a module tensorboard of its own
    assert {path.name for path in mine if "torch" not in path.parts} & STRANGERS == set()
    with zipfile.ZipFile(root / "models" / "neuroq.mar") as archive:
        archived = archive.namelist()
    assert any(name.endswith(".so") for name in archived)  # the native decoder was built
    assert not [name for name in archived if "train" in name.lower() or name.endswith("conftest.py")]
    text = json.dumps(image.config())
    assert "TOKEN" not in text
    assert image.config()["config"]["User"] == "10001:0"


def test_it_answers_and_stops_without_losing_a_request(
    container: Container, stubs: Callable[[str], ModuleType]
) -> None:
    container.wait_until_ready()
    assert_everybody_is_the_user(container)
    assert container.execute("python", "-m", "client.health") == 0
    url = f"{container.url}/predictions/neuroq"
    refused = httpx.post(url, json={"action": "health"}, trust_env=False)
    assert refused.status_code == 401
    body = {"prompt": "こんにちは", "seed": 1}
    in_rest = {"input": {"action": "generate", "session_id": "rest", **body}}
    over_rest = httpx.post(url, json=in_rest, headers=bearer(TOKEN), trust_env=False, timeout=60).json()
    assert over_rest["status"] == "success"
    assert (
        generate_over_grpc(container, stubs, {"session_id": "grpc", **body})["generated"]
        == over_rest["generated"]
    )
    callers = Callers(url, TOKEN)
    wait_until_busy(url)
    signalled_at = time.monotonic()
    container.processes()[0].terminate()
    answers = callers.answers()
    assert [answer.status for answer in answers] == [200] * len(answers)
    assert all(answer.text and answer.ended_at > signalled_at for answer in answers)
    assert container.process.wait(60) == 0, container.log.read_text()
    print(
        f"{len(answers)} requests answered after SIGTERM; "
        f"stopped {time.monotonic() - signalled_at:.1f} s after it"
    )


def test_without_a_token_it_does_not_start(image: Image, tmp_path: Path) -> None:
    running = Container(image, tmp_path, token="")
    try:
        assert running.process.wait(60) == 2
        assert "neuroq: NEUROQ_TOKEN" in running.log.read_text()
    finally:
        running.remove()


def assert_everybody_is_the_user(container: Container) -> None:
    assert len(container.processes()) >= 4  # ours, Java, the worker, HAProxy
    for process in container.processes():
        assert set(process.uids()) == {USER_ID}


def generate_over_grpc(
    container: Container, stubs: Callable[[str], ModuleType], body: object
) -> dict[str, object]:
    request = stubs("inference_pb2").PredictionsRequest(
        model_name="neuroq", input={"data": json.dumps(body).encode()}
    )
    with grpc.insecure_channel(f"127.0.0.1:{container.ports['PROXY_GRPC_PORT']}") as channel:
        stub = stubs("inference_pb2_grpc").InferenceAPIsServiceStub(channel)
        reply = stub.Predictions(request, metadata=(("authorization", f"Bearer {TOKEN}"),), timeout=60)
    answer: dict[str, object] = json.loads(reply.prediction)
    return answer


def wait_until_busy(url: str) -> None:
    deadline = time.monotonic() + 30
    with httpx.Client(headers=bearer(TOKEN), trust_env=False) as client:
        while client.post(url, json={"action": "status"}).json()["requests_running"] < 2 * LONG["n"]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
