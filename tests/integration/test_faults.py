"""What can go wrong in training, for real: one clear line, an exit status, and nothing lost."""

from __future__ import annotations

import html
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from model.checkpoint import TOKENIZER_NAME, Checkpoint, file_sha256
from model.tokenizer import Tokenizer
from tests.conftest import ROOT, write_checkpoint
from tests.integration.training import command, load_whole, same, train, write_dialogues
from train import evaluate, package
from train.__main__ import main
from train.corpus import Document
from train.report import report_path
from train.state import TrainingState, state_path

pytestmark = pytest.mark.integration
_RUN = ["--embed_dim=32", "--num_heads=2", "--num_layers=1", "--vocab_size=500", "--epochs=2"]
_QUIET = [*_RUN, "--report=false"]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory, documents: list[Document]) -> str:
    return write_dialogues(tmp_path_factory.mktemp("text") / "text.jsonl", documents, 60)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, text: str) -> Path:
    """The checkpoint of a run without faults."""
    path = tmp_path_factory.mktemp("finished") / "c.pt"
    done = train(text, *_QUIET, "--checkpoint_path", str(path))
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 16 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    mounted = subprocess.run(mounting, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def in_process(*arguments: str) -> Result:
    return CliRunner().invoke(main, [*_QUIET, *arguments])


def last_line(result: Result) -> str:
    """The error, after which there is nothing else."""
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    return result.output.splitlines()[-1]


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def check_the_disk_was_full(
    done: subprocess.CompletedProcess[str], path: Path, earlier: str, reason: str
) -> None:
    """The run ended within its epochs, and the earlier checkpoint and its own first state are whole."""
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"train: {state_path(path)}: {reason}"
    assert "Traceback" not in done.stderr
    assert "tokens an epoch" in done.stderr  # the state before the first step could be written
    assert file_sha256(path) == earlier
    load_whole(path)
    TrainingState.load(state_path(path))
    assert not list(path.parent.glob(".*.tmp"))


def earlier_checkpoint(folder: Path, tokenizer: Tokenizer) -> tuple[Path, str]:
    path = write_checkpoint(folder, tokenizer, embed_dim=8, num_heads=2, num_layers=1)
    return path, file_sha256(path)


def test_a_full_disk_costs_nothing_that_was_saved(
    finished: Path, text: str, tokenizer: Tokenizer, small_disk: Path
) -> None:
    path, earlier = earlier_checkpoint(small_disk, tokenizer)
    filler = small_disk / "filler"
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    filler.write_bytes(bytes(free - 2 * finished.stat().st_size))
    arguments = [text, *_QUIET, "--checkpoint_path", str(path)]
    done = train(*arguments)
    check_the_disk_was_full(done, path, earlier, "No space left on device")
    filler.unlink()
    again = train(*arguments, "--resume")
    assert again.returncode == 0, again.stderr
    assert same(path, finished)


def test_a_file_that_may_not_grow_costs_nothing_that_was_saved(
    finished: Path, text: str, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    path, earlier = earlier_checkpoint(tmp_path, tokenizer)
    most = 2 * finished.stat().st_size
    arguments = [text, *_QUIET, "--checkpoint_path", str(path)]
    done = subprocess.run(
        command(*arguments),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
    )
    check_the_disk_was_full(done, path, earlier, "File too large")
    again = train(*arguments, "--resume")
    assert again.returncode == 0, again.stderr
    assert same(path, finished)


def test_a_loss_that_is_no_number_ends_the_run_and_is_reported(
    text: str, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    path, earlier = earlier_checkpoint(tmp_path, tokenizer)
    absurd = ["--lr=10", "--weight_decay=1", "--epochs=50"]
    done = train(text, *_RUN, *absurd, "--checkpoint_path", str(path))
    assert done.returncode == 1
    *_, report, error = done.stderr.splitlines()
    page = report_path(path) / "index.html"
    assert report == f"report {page}"
    assert error.startswith("train: the ")
    assert error.endswith(": try a lower --lr")
    assert error.removeprefix("train: ") in html.unescape(page.read_text(encoding="utf-8"))
    assert not (report_path(path) / "README.md").exists()  # a card would be that of other weights
    assert all(torch.isfinite(tensor).all() for tensor in load_whole(path).weights.values())
    assert "Traceback" not in done.stderr
    if "epoch 1/50" not in done.stderr:
        assert file_sha256(path) == earlier


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("猫が眠る。\n犬が走る".encode() + b"\xff\n", "{path}, line 2: not UTF-8: byte 0xff at offset 28"),
        ("吾輩は猫である。\n".encode("cp932"), "{path}, line 1: Shift_JIS, not UTF-8: convert it,"),
        ("吾輩は猫である。\n".encode("utf-16"), "{path}, line 1: UTF-16, not UTF-8: convert it,"),
        (b"", "the corpus holds no text: {path}"),
        (b" \n\n \n", "the corpus holds no text: {path}"),
        (None, "{path} cannot be read: No such file or directory"),
    ],
)
def test_a_text_that_cannot_be_read(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    result = in_process(str(path), "--checkpoint_path", str(tmp_path / "c.pt"))
    assert last_line(result).startswith(f"train: {message.format(path=path)}")


def test_a_folder_without_text(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("猫")
    result = in_process(str(tmp_path), "--checkpoint_path", str(tmp_path / "c.pt"))
    kinds = ".txt, .jsonl, .json, .csv, .tsv, .parquet or .arrow"
    assert last_line(result) == f"train: {tmp_path}: there is no {kinds} file in this folder"


def test_a_text_of_one_character_makes_a_model_of_it(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("猫")
    path = tmp_path / "c.pt"
    done = train(str(tmp_path / "text.txt"), *_QUIET, "--checkpoint_path", str(path))
    assert done.returncode == 0, done.stderr
    assert load_whole(path).config.context_length == 2
    patient = ["--patience=1", "--processes=1", "--checkpoint_path", str(path)]
    error = last_line(in_process(str(tmp_path / "text.txt"), *patient))
    assert error.startswith("train: patience needs held-out text")


def test_a_folder_that_cannot_be_written(tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_text("in the way")
    for folder in (Path("/proc/neuroq"), tmp_path / "file"):
        error = last_line(in_process(text, "--checkpoint_path", str(folder / "c.pt")))
        assert error.startswith(f"train: {folder}: ")


def test_a_checkpoint_path_that_is_no_file_s_is_refused_before_any_text_is_read(tmp_path: Path) -> None:
    folder, file = tmp_path / "models", tmp_path / "file"
    folder.mkdir()
    file.write_text("in the way")
    for path, message in (
        (
            str(folder),
            f"checkpoint_path '{folder}' is a folder; name a file in it, such as {folder}/",
        ),
        (f"{folder}/new/", f"checkpoint_path '{folder}/new/' is a folder; name a file in it"),
        (".", "checkpoint_path '.' is a folder"),
        ("/dev/null", "checkpoint_path '/dev/null' is no file that can be replaced"),
        (f"{file}/deep/c.pt", f"{file}: is a file, there can be no folder of this name"),
        ("/proc/c.pt", "/proc: "),
    ):
        for more in ([], ["--resume"]):
            result = in_process("there-is-no-such-text.txt", *more, "--checkpoint_path", path)
            assert last_line(result).startswith(f"train: {message}")
            assert len(result.output.splitlines()) == 1
    assert files(tmp_path) == {"models", "file"}
    assert not files(folder)


def _learning_rate_is_absurd(text: str, path: Path) -> str:
    done = train(text, *_QUIET, "--lr=10", "--checkpoint_path", str(path))
    assert done.returncode == 1, done.stderr
    *_, line = done.stderr.splitlines()
    assert [each for each in done.stderr.splitlines() if "useless" in each] == [line]
    return line


def test_a_model_that_is_worse_than_a_guess_replaces_nothing(
    text: str, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    path, earlier = earlier_checkpoint(tmp_path / "earlier", tokenizer)
    for each in (path, tmp_path / "new" / "c.pt"):
        line = _learning_rate_is_absurd(text, each)
        assert line.startswith("train: the model has become useless, ")
        assert line.endswith(": try a lower --lr")
        assert not state_path(each).exists()  # else `serve` would go on with it
    assert file_sha256(path) == earlier
    load_whole(path)
    assert files(tmp_path / "new") == {".c.pt.lock", "c.tokens"}
    packaging = ["--checkpoint_path", str(tmp_path / "new" / "c.pt"), "--model_store", str(tmp_path)]
    assert "there is no checkpoint" in last_line(CliRunner().invoke(package.main, packaging))


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _damaged(path: Path) -> None:
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(each ^ 255 for each in content[middle : middle + 64])
    path.write_bytes(content)


def _changed(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        values = torch.load(path, weights_only=True)
        change(values)
        torch.save(values, path)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_truncated, "{state} cannot be read as a checkpoint: "),
        (_damaged, "{state} is damaged: the checksum of "),
        (
            _changed(lambda values: values.update(state_version=1)),
            "{state} is not the state of a NeuroQ training run of this version",
        ),
        (_changed(lambda values: values.pop("optimizer")), "{state} is not a whole training state: "),
        (
            _changed(lambda values: values["config"].update(embed_dim=64)),
            "the state is that of another network: size mismatch for ",
        ),
    ],
    ids=["truncated", "damaged", "of another format", "a part is missing", "of another shape"],
)
def test_a_state_that_cannot_be_used_is_named_and_the_checkpoint_stays(
    stopped: Path, spoil: Callable[[Path], None], message: str
) -> None:
    before = file_sha256(stopped)
    state = state_path(stopped)
    whole = state.read_bytes()
    try:
        spoil(state)
        result = CliRunner().invoke(main, ["--resume", "--checkpoint_path", str(stopped)])
        assert last_line(result).startswith(f"train: {message.format(state=state)}")
    finally:
        state.write_bytes(whole)
    assert file_sha256(stopped) == before
    load_whole(stopped)


@pytest.fixture(scope="module")
def stopped(finished: Path, tmp_path_factory: pytest.TempPathFactory, text: str) -> Path:
    """The checkpoint of a run that was killed after its first epoch."""
    path = tmp_path_factory.mktemp("stopped") / "c.pt"
    arguments = command(text, *_QUIET, "--epochs=1000", "--checkpoint_path", str(path))
    process = subprocess.Popen(arguments, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while not path.exists():
        assert "train:" not in process.stderr.readline()
    process.kill()
    process.communicate()
    return path


def test_a_checkpoint_of_another_shape_than_its_configuration_says(
    tmp_path: Path, tokenizer: Tokenizer, text: str
) -> None:
    path, _ = earlier_checkpoint(tmp_path, tokenizer)
    _changed(lambda values: values["config"].update(embed_dim=16))(path)
    reason = "the checkpoint's tensors do not fit its configuration: size mismatch for "
    arguments = ["--checkpoint_path", str(path)]
    for name, result in (
        ("evaluate", CliRunner().invoke(evaluate.main, [text, *arguments])),
        ("package", CliRunner().invoke(package.main, [*arguments, "--model_store", str(tmp_path)])),
    ):
        assert last_line(result).startswith(f"{name}: {reason}")
        assert len(result.output.splitlines()) == 1
    assert files(tmp_path) == {path.name, TOKENIZER_NAME}
    assert Checkpoint.load(path).config.embed_dim == 16
