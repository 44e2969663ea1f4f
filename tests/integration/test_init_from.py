"""A run that starts from a checkpoint: what it takes over, what it refuses, and how it is resumed."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.checkpoint import Checkpoint, file_sha256
from tests.integration.training import load_whole, same, start, train, write_dialogues
from train.corpus import Document
from train.state import state_path

pytestmark = pytest.mark.integration
_SHAPE = ["--embed_dim=32", "--num_neurons=16", "--num_layers=2", "--seq_length=64"]
_QUIET = ["--report=false", "--validation_fraction=0.1"]


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory, documents: list[Document]) -> Path:
    folder = tmp_path_factory.mktemp("parent")
    corpus = write_dialogues(folder / "parent.jsonl", documents, 120)
    path = folder / "parent.pt"
    done = train(corpus, "--checkpoint_path", str(path), *_SHAPE, *_QUIET, "--epochs=4", "--vocab_size=700")
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory, documents: list[Document]) -> str:
    return write_dialogues(tmp_path_factory.mktemp("text") / "own.jsonl", documents[500:], 60)


def test_weights_tokenizer_and_shape_come_from_the_parent(parent: Path, text: str, tmp_path: Path) -> None:
    path = tmp_path / "child.pt"
    options = ["--checkpoint_path", str(path), *_QUIET, "--epochs=1", "--lr=1e-8", "--matrix_lr=1e-8"]
    done = train(text, "--init_from", str(parent), *options)
    assert done.returncode == 0, done.stderr
    assert f"starting from {parent} ({file_sha256(parent)[:12]}…)" in done.stderr
    before, after = Checkpoint.load(parent), load_whole(path)
    assert after.config.to_dict() == before.config.to_dict()
    assert after.tokenizer_model == before.tokenizer_model
    for name, tensor in before.weights.items():
        assert (after.weights[name].float() - tensor.float()).abs().max() < 1e-5, name
    assert after.lineage["init_from"]["sha256"] == file_sha256(parent)
    assert after.lineage["init_from"]["data"] == before.lineage["data"]


def test_it_learns_faster_than_from_nothing(parent: Path, text: str, tmp_path: Path) -> None:
    scores = []
    for name, options in (
        ("nothing", [*_SHAPE, "--vocab_size=700"]),
        ("parent", ["--init_from", str(parent)]),
    ):
        path = tmp_path / f"{name}.pt"
        done = train(text, "--checkpoint_path", str(path), *options, *_QUIET, "--epochs=2")
        assert done.returncode == 0, done.stderr
        scores.append(Checkpoint.load(path).lineage["metrics"]["validation_bits_per_char"])
    assert scores[1] < scores[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--embed_dim=64"], "embed_dim is 32 in the checkpoint to start from, not 64"),
        (["--vocab_size=900"], "in the checkpoint to start from, not 900"),
        (["--tied=true"], "tied is False in the checkpoint to start from, not True"),
        (["--seq_length=65"], "seq_length must be at most 64, the context of the checkpoint to start from"),
        (["--tokenizer_path=x.model"], "tokenizer_path cannot be given"),
    ],
)
def test_what_contradicts_the_parent_is_refused_by_name(
    parent: Path, text: str, tmp_path: Path, options: list[str], words: str
) -> None:
    done = train(text, "--init_from", str(parent), "--checkpoint_path", str(tmp_path / "c.pt"), *options)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "c.pt").exists()


@pytest.mark.parametrize("place", ["none.pt", "s3:/b/x.pt"])
def test_a_parent_that_is_not_there_is_one_line(text: str, tmp_path: Path, place: str) -> None:
    done = train(text, "--init_from", place, "--checkpoint_path", str(tmp_path / "c.pt"))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1


def test_a_killed_run_goes_on_to_the_same_weights(parent: Path, text: str, tmp_path: Path) -> None:
    arguments = [text, "--init_from", str(parent), *_QUIET, "--epochs=6"]
    alone, killed = tmp_path / "alone.pt", tmp_path / "killed.pt"
    assert train(*arguments, "--checkpoint_path", str(alone)).returncode == 0
    process = start(*arguments, "--checkpoint_path", str(killed))
    assert process.stderr is not None
    for line in process.stderr:
        if "epoch 2/6" in line:
            break
    process.kill()
    process.communicate()
    assert state_path(killed).exists()
    moved = tmp_path / "parent-away.pt"
    parent.rename(moved)  # a run that goes on has all it needs
    try:
        resumed = train("--resume", "--checkpoint_path", str(killed))
    finally:
        moved.rename(parent)
    assert resumed.returncode == 0, resumed.stderr
    assert same(alone, killed)
    origins = [Checkpoint.load(path).lineage["init_from"] for path in (alone, killed)]
    assert origins[0] == origins[1]
