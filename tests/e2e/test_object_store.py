"""Real TorchServes whose model is on a volume or in moto's S3 server: the commands of docs/storage.md."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from model.checkpoint import tokenizer_path
from model.tokenizer import Tokenizer
from tests.conftest import ROOT, write_checkpoint
from tests.e2e.conftest import CONTEXT_LENGTH, Server
from tests.object_stores import ObjectStore, documented, s3

pytestmark = pytest.mark.e2e
Start = Callable[..., AbstractContextManager[Server]]


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    """A folder with a checkpoint, mine.pt, its tokenizer, and its archive."""
    folder = tmp_path_factory.mktemp("models")
    checkpoint = write_checkpoint(folder, tokenizer, context_length=CONTEXT_LENGTH).rename(folder / "mine.pt")
    places = ["--checkpoint_path", str(checkpoint), "--model_store", str(folder)]
    subprocess.run([sys.executable, "-m", "train.package", *places], cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, volume: Path) -> Iterator[ObjectStore]:
    """A bucket that holds what the volume does."""
    with s3(tmp_path_factory.mktemp("moto")) as running:
        for file in (volume / "mine.pt", tokenizer_path(volume / "mine.pt")):
            running.put(file.name, file.read_bytes())
        yield running


@pytest.fixture
def started(store: ObjectStore, tmp_path: Path) -> Start:
    """Run a serve command on a machine of its own; ends the server after the block."""

    @contextmanager
    def start(name: str, *command: str) -> Iterator[Server]:
        server = Server(tmp_path / name, "continuous")
        server.environment |= {
            "AWS_ENDPOINT_URL": store.url,
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "NEUROQ_CACHE": str(tmp_path / name / "cache"),
        }
        try:
            server.command("client", *command)
            server.status = json.loads(server.command("client", "status", "--json").stdout)
            yield server
        finally:
            server.stop()

    return start


def text_of(server: Server) -> str:
    text: str = server.generate("こんにちは", seed=1)["generated"]
    assert text
    return text


def test_a_checkpoint_and_an_archive_are_served_from_a_volume_and_from_s3(
    started: Start, volume: Path
) -> None:
    def of_the_volume(command: str) -> list[str]:
        return [word.replace("/models/", f"{volume}/") for word in documented(command)]

    with started("a", *of_the_volume("serve --checkpoint-path /models/mine.pt")) as server:
        text = text_of(server)
    with started("b", *of_the_volume("serve --archive-path /models/neuroq.mar")) as server:
        assert text_of(server) == text
    with started("c", *documented("serve --checkpoint-path s3://my-models/mine.pt")) as server:
        assert text_of(server) == text
        server.command(
            "client",
            *documented(
                "package --checkpoint_path s3://my-models/mine.pt --model-store s3://my-models/store"
            ),
        )
    with started("d", *documented("serve --archive-path s3://my-models/store/neuroq.mar")) as server:
        assert text_of(server) == text


def test_a_release_into_a_remote_store_is_served_by_who_starts_next(
    started: Start, store: ObjectStore, volume: Path, tmp_path: Path
) -> None:
    held_out = tmp_path / "held_out.txt"
    held_out.write_text("こんにちは。今日はいい天気ですね。\n", encoding="utf-8")
    archive = (volume / "neuroq.mar").read_bytes()
    store.put("store/neuroq.mar", archive)
    store.put("store/neuroq.mar.sha256", hashlib.sha256(archive).hexdigest().encode())
    serve = documented("serve --model-store s3://my-models/store")
    release = documented("release --checkpoint-path s3://my-models/mine.pt --text held_out.txt")
    with started("one", *serve) as server:
        text = text_of(server)
        server.command("client", *[word.replace("held_out.txt", str(held_out)) for word in release])
        assert json.loads(store.get("store/releases.json"))["current"]["version"] == "2.0"
        with started("two", *serve) as other:
            reply = other.generate("こんにちは", seed=1)
            assert (reply["model_version"], reply["generated"]) == ("2.0", text)
        server.command("client", *documented("rollback"))
    releases = json.loads(store.get("store/releases.json"))
    assert (releases["current"]["version"], releases["previous"]["version"]) == ("1.0", "2.0")
