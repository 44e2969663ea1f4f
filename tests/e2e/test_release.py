"""./neuroq release and ./neuroq rollback with trained models, while clients keep asking.

The tests of this file are one story: each goes on with the server as the one before has left it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import torch

from model.checkpoint import CHECKPOINT_NAME, TOKENIZER_NAME, Checkpoint, tokenizer_path
from model.network import NeuroQ
from model.tokenizer import Tokenizer
from tests.e2e.conftest import Server
from tests.e2e.test_versions import asking
from train.arguments import TrainingArguments
from train.corpus import BUILT_IN
from train.run import start

pytestmark = pytest.mark.e2e
SMALL = TrainingArguments(
    texts=tuple(str(BUILT_IN / "varied" / f"{name}.jsonl") for name in ("greetings", "daily_life")),
    embed_dim=32,
    num_neurons=16,
    num_layers=2,
    batch_size=8,
    lr=0.006,
    dropout=0.0,
    processes=1,
    precision="fp32",
)
CHECKS = ("quality", "latency", "sanity", "answers")
SLOW = {"num_layers": 8, "num_neurons": 256}


def trained(folder: Path, tokenizer: Tokenizer, epochs: int) -> Path:
    """A small model that has seen its text so many times."""
    path, tokenizer_file = folder / CHECKPOINT_NAME, folder / TOKENIZER_NAME
    tokenizer_file.write_bytes(tokenizer.model_bytes)
    places = {"checkpoint_path": str(path), "tokenizer_path": str(tokenizer_file)}
    torch.set_num_threads(1)  # several collapse beside other work
    start(replace(SMALL, epochs=epochs, **places), None, print)  # type: ignore[arg-type]
    return path


def changed(source: Path, folder: Path, checkpoint: Checkpoint) -> Path:
    """Another checkpoint with the tokenizer of `source`."""
    folder.mkdir()
    shutil.copy(tokenizer_path(source), folder)
    checkpoint.save(folder / CHECKPOINT_NAME)
    return folder / CHECKPOINT_NAME


def shuffled(checkpoint: Checkpoint) -> Checkpoint:
    """The same values, each tensor's in another order."""
    torch.manual_seed(0)
    weights = {
        name: w.flatten()[torch.randperm(w.numel())].view_as(w) for name, w in checkpoint.weights.items()
    }
    return replace(checkpoint, weights=weights)


def padded(checkpoint: Checkpoint) -> Checkpoint:
    """The same function in many times the work: layers and neurons of zeros."""
    config = replace(checkpoint.config, **SLOW)  # type: ignore[arg-type]
    weights = {name: torch.zeros_like(w) for name, w in NeuroQ(config).state_dict().items()}
    for name, values in checkpoint.weights.items():
        weights[name][tuple(slice(size) for size in values.shape)] = values
    return replace(checkpoint, config=config, weights=weights)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Iterator[Server]:
    """A server of its own with a model that has not learned all it could."""
    folder = tmp_path_factory.mktemp("release")
    trained(folder, tokenizer, epochs=3)
    server = Server(folder, "continuous")
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def better(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    return trained(tmp_path_factory.mktemp("better"), tokenizer, epochs=10)


def release(server: Server, checkpoint: Path, *options: str) -> subprocess.CompletedProcess[str]:
    done = server.command("client", "release", "--checkpoint-path", str(checkpoint), *options, check=False)
    print(done.stdout, done.stderr)
    return done


def verdicts(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """The table's verdict of each check."""
    rows = [line.split() for line in done.stdout.splitlines()]
    words = {row[0]: row for row in rows if row and row[0] in CHECKS}
    return {name: "REFUSED" if "REFUSED" in row else "ok" for name, row in words.items()}


def versions(server: Server) -> tuple[str, list[str]]:
    """The default and all that are registered."""
    status = json.loads(server.command("client", "status", "--json").stdout)
    return status["version"], status["versions"]


def assert_nothing_has_changed(server: Server) -> None:
    assert versions(server) == ("1.0", ["1.0"])
    models = httpx.get(server.management_url, headers=server.management, trust_env=False).json()
    assert [model["modelName"] for model in models["models"]] == ["neuroq"]
    store = server.folder / "model_store"
    assert [path.name for path in store.iterdir()] == ["neuroq.mar"]


def test_a_broken_model_is_refused(server: Server, better: Path, tmp_path: Path) -> None:
    broken = changed(better, tmp_path / "broken", shuffled(Checkpoint.load(better)))
    done = release(server, broken)
    assert done.returncode == 1
    assert verdicts(done)["quality"] == "REFUSED"
    assert "version 2.0 is refused (quality" in done.stderr
    assert_nothing_has_changed(server)


def test_a_slower_model_is_refused(server: Server, better: Path, tmp_path: Path) -> None:
    slow = changed(better, tmp_path / "slow", padded(Checkpoint.load(better)))
    done = release(server, slow)
    assert done.returncode == 1
    assert verdicts(done) == {"quality": "ok", "latency": "REFUSED", "sanity": "ok"}
    assert_nothing_has_changed(server)


def test_a_model_that_answers_fewer_questions_is_refused(
    server: Server, better: Path, tmp_path: Path
) -> None:
    (tmp_path / "faq.csv").write_text("question,answer\nこんにちは,こんにちは。\n", encoding="utf-8")
    (tmp_path / "foreign.txt").write_text("今日の天気は\n", encoding="utf-8")
    broken = changed(better, tmp_path / "broken", shuffled(Checkpoint.load(better)))
    options = ["--answers", str(tmp_path / "faq.csv"), "--foreign", str(tmp_path / "foreign.txt")]
    done = release(server, broken, *options)
    assert done.returncode == 1
    assert re.search(
        r"answers +[01] of 1 fitting, [01] of 1 refused +0 of 1 fitting, 0 of 1 refused", done.stdout
    )
    assert_nothing_has_changed(server)


def test_a_better_model_takes_over_without_a_failed_request(server: Server, better: Path) -> None:
    with asking(server) as replies:
        done = release(server, better)
    assert done.returncode == 0, done.stderr
    assert verdicts(done) == {"quality": "ok", "latency": "ok", "sanity": "ok"}
    assert {status for status, _ in replies} == {200}, [r for r in replies if r[0] != 200][:3]
    assert {version for _, version in replies} == {"1.0", "2.0"}
    assert versions(server) == ("2.0", ["1.0", "2.0"])


def test_a_restart_keeps_the_release_and_rollback_works_after_it(server: Server) -> None:
    server.stop()
    server.start()
    assert versions(server) == ("2.0", ["1.0", "2.0"])
    assert server.generate("こんにちは", session_id="restart")["model_version"] == "2.0"
    with asking(server) as replies:
        server.command("client", "rollback")
    assert {status for status, _ in replies} == {200}, [r for r in replies if r[0] != 200][:3]
    assert versions(server) == ("1.0", ["1.0", "2.0"])


def test_the_next_release_retires_what_was_rolled_back(server: Server, better: Path) -> None:
    done = release(server, better)
    assert done.returncode == 0, done.stderr
    assert versions(server) == ("3.0", ["1.0", "3.0"])
