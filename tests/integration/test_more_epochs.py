"""More epochs after the end, and files that have moved: `--resume` goes on where the run ended."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from model.checkpoint import file_sha256
from tests.integration.test_interruption import read_to
from tests.integration.training import load_whole, same, start, train, write_dialogues
from train.corpus import Document
from train.state import state_path

pytestmark = pytest.mark.integration
_SIZES = ["--embed_dim=16", "--num_heads=2", "--num_neurons=8", "--num_layers=1", "--vocab_size=500"]
_RUN = [*_SIZES, "--batch_size=8", "--lr=0.02", "--report=false"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, documents: list[Document]) -> Path:
    """The checkpoint of a run of three epochs over text.jsonl beside it."""
    folder = tmp_path_factory.mktemp("finished")
    write_dialogues(folder / "text.jsonl", documents, 60)
    done = train(str(folder / "text.jsonl"), *_RUN, "--epochs=3", "--checkpoint_path", str(folder / "c.pt"))
    assert done.returncode == 0, done.stderr
    return folder / "c.pt"


def moved(finished: Path, folder: Path) -> tuple[Path, str]:
    """Both the run's files and its text, in another folder."""
    shutil.copytree(finished.parent, folder)
    (folder / "text.jsonl").rename(folder / "renamed.jsonl")
    return folder / finished.name, str(folder / "renamed.jsonl")


def test_a_finished_run_goes_on_with_more_epochs(finished: Path, tmp_path: Path) -> None:
    path, text = moved(finished, tmp_path / "one")
    more = train(text, *_RUN, "--epochs=6", "--resume", "--checkpoint_path", str(path))
    assert more.returncode == 0, more.stderr
    assert "the run had finished after 3 epochs and goes on to 6" in more.stderr
    assert "resuming in epoch 4, batch 1" in more.stderr
    assert not any(f"epoch {epoch}/6" in more.stderr for epoch in (1, 2, 3))
    before, after = load_whole(finished).lineage, load_whole(path).lineage
    assert (after["epochs_done"], after["is_finished"]) == (6, True)
    assert after["parent"] == file_sha256(finished)
    scores = [each["metrics"]["train_bits_per_char"] for each in (after, before)]
    assert scores[0] < scores[1]
    assert not state_path(path).exists()
    again = train(text, *_RUN, "--epochs=6", "--resume", "--checkpoint_path", str(path))
    assert (again.returncode, "nothing to go on with" in again.stderr) == (0, True), again.stderr

    killed, text = moved(finished, tmp_path / "two")
    arguments = [text, *_RUN, "--epochs=6", "--resume", "--checkpoint_path", str(killed)]
    process = start(*arguments)
    read_to("epoch 4/6", process)
    process.kill()
    process.communicate()
    resumed = train(*arguments)
    assert resumed.returncode == 0, resumed.stderr
    assert same(killed, path)


def test_what_contradicts_is_refused_by_name(finished: Path, tmp_path: Path) -> None:
    path, text = moved(finished, tmp_path / "run")
    digest = file_sha256(path)
    other = tmp_path / "other.jsonl"
    other.write_text('{"text": "別の文章です。"}\n{"text": "もう一つ。"}')
    resume = ["--resume", "--checkpoint_path", str(path)]
    for arguments, message in (
        ([text, "--epochs=2"], "the run began with epochs 3, it cannot be resumed with 2"),
        ([text, "--epochs=6", "--lr=0.5"], "the run began with lr 0.02, it cannot be resumed with 0.5"),
        ([str(other)], f"it cannot be resumed with {other}: another text"),
        ([str(other), "--epochs=6"], f"the text has changed since the run began, or {other} is another one"),
    ):
        done = train(*arguments, *resume)
        assert (done.returncode, message in done.stderr) == (1, True), done.stderr
        assert file_sha256(path) == digest


def test_an_interrupted_run_finds_its_moved_text_and_is_given_no_more_epochs(
    finished: Path, tmp_path: Path
) -> None:
    text, path = finished.with_name("text.jsonl"), tmp_path / "c.pt"
    process = start(str(text), *_RUN, "--epochs=3", "--checkpoint_path", str(path))
    read_to("epoch 1/3", process)
    process.kill()
    process.communicate()
    longer = train("--resume", "--epochs=9", "--checkpoint_path", str(path))
    assert longer.returncode == 1
    assert "the run began with epochs 3, it cannot be resumed with 9 before it has ended" in longer.stderr
    (tmp_path / "elsewhere").mkdir()
    copy = shutil.copyfile(text, tmp_path / "elsewhere" / "t.jsonl")
    resumed = train(str(copy), "--resume", "--checkpoint_path", str(path))
    assert resumed.returncode == 0, resumed.stderr
    assert same(path, finished)
