"""The commands that read from an object store or write to one, against moto's S3 server; no TorchServe."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from model.checkpoint import CHECKPOINT_NAME, Checkpoint, tokenizer_path
from model.tokenizer import Tokenizer
from server.ports import free_ports
from tests.conftest import ROOT, write_checkpoint
from tests.object_stores import BUCKET, Fault, ObjectStore, documented, s3

pytestmark = pytest.mark.integration
PORTS = ("PORT", "MANAGEMENT_PORT", "METRICS_PORT", "GRPC_PORT", "GRPC_MANAGEMENT_PORT")


class Machine:
    """Commands with a run folder, a cache and credentials of their own."""

    def __init__(self, folder: Path, store: ObjectStore) -> None:
        self.folder, self.store = folder, store
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "NEUROQ_"))}
        self.environment |= {f"NEUROQ_{p}": str(n) for p, n in zip(PORTS, free_ports(5), strict=True)}
        self.environment |= {
            "NEUROQ_RUN_DIR": str(folder / "run"),
            "NEUROQ_CACHE": str(folder / "cache"),
            "AWS_ENDPOINT_URL_S3": store.url,
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "secret",
        }

    def run(self, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", *arguments]
        environment = {**self.environment, "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with s3(tmp_path_factory.mktemp("moto")) as running:
        yield running


@pytest.fixture
def machine(tmp_path: Path, store: ObjectStore) -> Machine:
    store.proxy.reset()
    return Machine(tmp_path, store)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer, store: ObjectStore) -> Path:
    """A checkpoint that is also in the bucket, in the folder good/, with its tokenizer."""
    path = write_checkpoint(tmp_path_factory.mktemp("checkpoint"), tokenizer)
    for file in (path, tokenizer_path(path)):
        store.put(f"good/{file.name}", file.read_bytes())
    return path


def test_package_reads_a_checkpoint_and_writes_an_archive(machine: Machine, checkpoint: Path) -> None:
    machine.store.put("mine.pt", checkpoint.read_bytes())
    machine.store.put("neuroq_tokenizer.model", tokenizer_path(checkpoint).read_bytes())
    words = documented("package --checkpoint_path s3://my-models/mine.pt --model-store s3://my-models/store")
    done = machine.run("client", *words, "--version", "3.0")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"s3://{BUCKET}/store/neuroq.mar: version 3.0")
    archive = machine.folder / "neuroq.mar"
    archive.write_bytes(machine.store.get("store/neuroq.mar"))
    with zipfile.ZipFile(archive) as files:
        assert files.read(CHECKPOINT_NAME) == checkpoint.read_bytes()
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert machine.store.get("store/neuroq.mar.sha256").decode() == f"{digest}  neuroq.mar\n"


def test_evaluate_reads_a_checkpoint(machine: Machine, checkpoint: Path) -> None:
    place = f"s3://{BUCKET}/good/{checkpoint.name}"
    text = machine.folder / "text.txt"
    text.write_text("こんにちは。\n", encoding="utf-8")
    done = machine.run("train.evaluate", str(text), "--checkpoint_path", place)
    assert json.loads(done.stdout)["checkpoint_sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()


def test_train_uploads_what_it_trained_and_keeps_the_state_here(machine: Machine) -> None:
    text = machine.folder / "my_text.txt"
    text.write_text("\n".join(f"猫が{number}匹います。" for number in range(60)), encoding="utf-8")
    sizes = ["--embed_dim", "32", "--num_neurons", "16", "--num_layers", "1", "--epochs", "1"]
    options = [*sizes, "--processes", "1", "--precision", "fp32", "--report", "false"]
    words = documented("train my_text.txt --checkpoint_path s3://my-models/mine.pt")
    done = machine.run("client", *words, *options, cwd=machine.folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith("uploaded to s3://my-models/mine.pt\n")
    folder = ROOT / "checkpoints" / "s3" / BUCKET  # the default place, wherever the command is called
    try:
        assert machine.store.get("mine.pt") == (folder / "mine.pt").read_bytes()
        Checkpoint.load(folder / "mine.pt").open_tokenizer()
    finally:
        shutil.rmtree(folder)


def test_train_finds_out_first_that_it_may_not_upload(machine: Machine) -> None:
    machine.store.proxy.judge = lambda seen: Fault(status=403)
    place = f"s3://{BUCKET}/x.pt"
    done = machine.run("train", "--checkpoint_path", place, cwd=machine.folder)
    assert done.returncode == 1
    assert done.stderr == f"train: {place}: access refused; check the credentials and what they may do\n"
    done = machine.run("train", "--checkpoint_path", "s3:/b/x.pt", cwd=machine.folder)
    assert done.stderr.startswith("train: checkpoint_path must be a path, s3://BUCKET/KEY or gs://")
    assert not (machine.folder / "checkpoints").exists()


BAD = {
    "missing": "there is no such object",
    "refused": "access refused",
    "truncated": "its SHA-256 is",
    "no-archive": "is no model archive",
}


@pytest.mark.parametrize("source", ["--archive-path", "--model-store", "--checkpoint-path"])
@pytest.mark.parametrize("fault", BAD)
def test_serve_ends_in_one_line_and_no_server(
    machine: Machine, checkpoint: Path, source: str, fault: str
) -> None:
    folder = f"{fault}{source}"
    names = {"--checkpoint-path": "neuroq_checkpoint.pt"}
    key = f"{folder}/{names.get(source, 'neuroq.mar')}"
    words = BAD[fault]
    if source == "--model-store" and fault == "missing":
        words = "has neither releases.json nor neuroq.mar"
    if source == "--checkpoint-path" and fault == "no-archive":
        words = "cannot be read as a checkpoint"
    if fault == "refused":
        machine.store.proxy.judge = lambda seen: Fault(status=403)
    elif fault != "missing":
        machine.store.put(key, checkpoint.read_bytes()[:999])
        machine.store.put(f"{folder}/neuroq_tokenizer.model", tokenizer_path(checkpoint).read_bytes())
    if fault == "truncated":
        digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
        machine.store.put(f"{key}.sha256", f"{digest}  x\n".encode())
    place = f"s3://{BUCKET}/{folder if source == '--model-store' else key}"
    done = machine.run("client", "serve", source, place)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if not line.startswith("Fetching ")]
    assert len(lines) == 1, done.stderr
    assert words in lines[0]
    assert not (machine.folder / "run" / "server.json").exists()


def test_serve_names_a_checkpoint_that_is_not_on_its_volume(machine: Machine) -> None:
    place = machine.folder / "volume" / "mine.pt"
    done = machine.run("client", "serve", "--checkpoint-path", str(place))
    assert (done.returncode, done.stderr) == (1, f"neuroq: there is no checkpoint at {place}\n")
    assert not place.parent.exists()


def test_rollback_without_a_server_changes_the_store(machine: Machine) -> None:
    releases = {name: {"version": v, "archive": f"neuroq-{v}.mar"} for name, v in VERSIONS.items()}
    machine.store.put("rolled/releases.json", json.dumps(releases).encode())
    archive = machine.folder / "x.mar"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("MAR-INF/MANIFEST.json", "{}")
    for version in VERSIONS.values():
        machine.store.put(f"rolled/neuroq-{version}.mar", archive.read_bytes())
    done = machine.run("client", "rollback", "--model-store", f"s3://{BUCKET}/rolled")
    assert (done.returncode, done.stderr) == (0, "")
    now = json.loads(machine.store.get("rolled/releases.json"))
    assert (now["current"]["version"], now["previous"]["version"]) == ("1.0", "2.0")


VERSIONS = {"current": "2.0", "previous": "1.0"}
