"""`neuroq` called from a folder of the user's, in which files have the names of modules."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.integration.training import load_whole, weights
from train.corpus import Document

pytestmark = pytest.mark.integration
_SIZES = ["--embed_dim=16", "--num_heads=2", "--num_neurons=8", "--num_layers=1", "--vocab_size=500"]
_RUN = [*_SIZES, "--epochs=2", "--report=false"]
_DEFAULT = str(ROOT / "checkpoints" / "neuroq_checkpoint.pt")
Neuroq = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, documents: list[Document]) -> Path:
    folder = tmp_path_factory.mktemp("user")
    lines = (turn.text for document in documents[:100] for turn in document.turns)
    (folder / "my.txt").write_text("\n".join(lines), encoding="utf-8")
    for name in ("train", "click", "json", "client", "torch"):
        (folder / f"{name}.py").write_text("raise SystemExit('not what was meant')")
    return folder


@pytest.fixture(scope="module")
def neuroq(folder: Path) -> Neuroq:
    if not (Path(sys.prefix) / "neuroq-installed.json").exists():
        pytest.skip("./neuroq has not prepared this environment, and would change it")

    def run(*arguments: str, where: Path = folder, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ROOT / "neuroq"), *arguments],
            cwd=where,
            env={**os.environ, "NEUROQ_VENV": sys.prefix, **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="module")
def trained(neuroq: Neuroq, folder: Path) -> Path:
    done = neuroq("train", "my.txt", "--checkpoint_path", "out/x.pt", *_RUN)
    assert done.returncode == 0, done.stderr
    assert "checkpoint out/x.pt, weights" in done.stderr  # as it was typed
    return folder / "out" / "x.pt"


def test_training_reads_and_writes_there(trained: Path, neuroq: Neuroq, folder: Path) -> None:
    lineage = load_whole(trained).lineage
    assert lineage["arguments"]["texts"] == [str(folder / "my.txt")]
    assert lineage["arguments"]["checkpoint_path"] == str(trained)
    missing = neuroq("train", "none.txt", "--checkpoint_path", "out/y.pt")
    assert (missing.returncode, missing.stderr) == (
        1,
        "train: none.txt cannot be read: No such file or directory\n",
    )
    again = neuroq("train", "../my.txt", "--checkpoint_path", "x.pt", "--resume", where=trained.parent)
    assert (again.returncode, again.stderr) == (
        0,
        "x.pt: the run has finished, there is nothing to go on with\n",
    )
    (folder / "out" / "its.model").write_bytes(load_whole(trained).tokenizer_model)
    with_its_tokenizer = ["--tokenizer_path", "out/its.model", "--progress_file", "share.json"]
    done = neuroq("train", "./my.txt", "--checkpoint_path", "z/z.pt", *with_its_tokenizer, *_RUN)
    assert done.returncode == 0, done.stderr
    assert weights(folder / "z" / "z.pt").keys() == weights(trained).keys()
    assert (folder / "share.json").exists()


def test_measuring_and_packaging(trained: Path, neuroq: Neuroq, folder: Path) -> None:
    done = neuroq("evaluate", "my.txt", "--checkpoint_path", "out/x.pt")
    assert done.returncode == 0, done.stderr
    assert '"checkpoint_path": "out/x.pt"' in done.stdout
    by_default = neuroq("evaluate", "my.txt")
    assert _DEFAULT in by_default.stdout + by_default.stderr
    for place, made in (
        (["--output", "mine.mar"], "mine.mar"),
        (["--model_store", "store"], "store/neuroq.mar"),
    ):
        done = neuroq("package", "--checkpoint_path", "out/x.pt", *place)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{made}: version 1.0")
        assert (folder / made).is_file()


def test_commands_beside_a_server(neuroq: Neuroq, folder: Path) -> None:
    status = neuroq("status", "--run-dir", "r")
    assert status.stdout == f"Not running (run folder {folder / 'r'}).\n"
    assert neuroq("status", NEUROQ_RUN_DIR="r").stdout == status.stdout
    assert str(ROOT / "run") in neuroq("status").stdout or "eady" in neuroq("status").stdout
    assert neuroq("job", "--run-dir", "r").returncode == 0
    release = neuroq("release", "--text", "none.txt", "--run-dir", "r")
    assert release.returncode == 2
    assert "none.txt" in release.stderr
    release = neuroq("release", "--text", "my.txt", "--run-dir", "r")
    assert release.returncode != 2
    serve = neuroq("serve", "--checkpoint-path", "none.pt", "--run-dir", "r", *free_ports())
    assert serve.returncode == 1
    assert f"there is no checkpoint at {folder / 'none.pt'}" in serve.stderr


def free_ports() -> list[str]:
    names = ("port", "management-port", "metrics-port", "grpc-port", "grpc-management-port")
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in names]
    words = [f"--{name}={each.getsockname()[1]}" for name, each in zip(names, sockets, strict=True)]
    for each in sockets:
        each.close()
    return words
