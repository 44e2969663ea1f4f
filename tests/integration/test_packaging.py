"""Archives made by torch-model-archiver, and the pairs that are refused."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from model.checkpoint import CHECKPOINT_NAME, TOKENIZER_NAME, tokenizer_path
from model.tokenizer import Tokenizer
from tests.conftest import ROOT, write_checkpoint
from train.corpus import Document
from train.package import read_record
from train.tokenizer import train_tokenizer

pytestmark = pytest.mark.integration


def package(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    places = ["--checkpoint_path", str(folder / CHECKPOINT_NAME), "--model_store", str(folder / "store")]
    command = [sys.executable, "-m", "train.package", *places, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def checkpoint(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    return write_checkpoint(tmp_path, tokenizer)


def test_an_archive_holds_everything_that_serving_needs(checkpoint: Path, tmp_path: Path) -> None:
    done = package(tmp_path, "--version", "1.2")
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(tmp_path / "store" / "neuroq.mar") as archive:
        names = set(archive.namelist())
        manifest = json.loads(archive.read("MAR-INF/MANIFEST.json"))
        assert "continuousBatching: true" in archive.read("model-config.yaml").decode()
    assert {
        CHECKPOINT_NAME,
        TOKENIZER_NAME,
        "neuroq_handler.py",
        "model/engine.py",
        "handler/service.py",
    } <= names
    assert not [name for name in names if name.startswith("train") or "__pycache__" in name]
    assert (manifest["model"]["modelName"], manifest["model"]["modelVersion"]) == ("neuroq", "1.2")
    assert list((tmp_path / "store").iterdir()) == [tmp_path / "store" / "neuroq.mar"]  # nothing left behind


def test_the_profile_is_in_the_archive(checkpoint: Path, tmp_path: Path) -> None:
    assert package(tmp_path, "--profile", "workers", "--output", str(tmp_path / "w.mar")).returncode == 0
    with zipfile.ZipFile(tmp_path / "w.mar") as archive:
        assert "continuousBatching: false" in archive.read("model-config.yaml").decode()


def test_it_is_made_anew_only_when_something_changed(
    checkpoint: Path, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    archive = tmp_path / "store" / "neuroq.mar"
    package(tmp_path)
    before = archive.stat().st_mtime_ns
    assert "up to date" in package(tmp_path, "--if-changed").stdout
    assert archive.stat().st_mtime_ns == before
    for change in (["--version", "2.0"], ["--profile", "workers"]):
        assert "up to date" not in package(tmp_path, "--if-changed", *change).stdout
    write_checkpoint(tmp_path, tokenizer, seed=5)
    record = read_record(archive)
    assert "up to date" not in package(tmp_path, "--if-changed", "--profile", "workers").stdout
    assert read_record(archive) != record


def test_a_pair_that_does_not_belong_together_is_refused(
    checkpoint: Path, tmp_path: Path, documents: list[Document]
) -> None:
    tokenizer_path(checkpoint).write_bytes(train_tokenizer(documents[:80], 700).model_bytes)
    done = package(tmp_path)
    assert done.returncode == 1
    assert "do not belong together" in done.stderr
    assert not (tmp_path / "store" / "neuroq.mar").exists()


def test_missing_and_broken_files_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    tokenizer = tokenizer_path(checkpoint)
    content = tokenizer.read_bytes()
    tokenizer.unlink()
    assert "cannot read the tokenizer" in package(tmp_path).stderr
    tokenizer.write_bytes(content)
    checkpoint.write_bytes(checkpoint.read_bytes()[:999])
    assert "cannot be read as a checkpoint" in package(tmp_path).stderr
    checkpoint.unlink()
    assert "there is no checkpoint at" in package(tmp_path).stderr
    assert "must be numbers with dots" in package(tmp_path, "--version", "latest").stderr
