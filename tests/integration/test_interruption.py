"""Ctrl-C and its kin, whoever they reach, whatever the command does: saved, one line, exit status 130."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT
from tests.integration.training import command, load_whole, same, start, train, write_dialogues
from train.corpus import Document
from train.state import state_path

pytestmark = pytest.mark.integration
_SIZES = ["--embed_dim=16", "--num_heads=2", "--num_neurons=8", "--num_layers=1", "--vocab_size=500"]
_RUN = [*_SIZES, "--batch_size=8", "--lr=0.02", "--epochs=12", "--report=false"]
_ONE_LINE = "train: interrupted; go on with --resume"


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory, documents: list[Document]) -> str:
    return write_dialogues(tmp_path_factory.mktemp("text") / "text.jsonl", documents, 80)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, text: str) -> Path:
    """The checkpoint of a run that nothing interrupted."""
    path = tmp_path_factory.mktemp("alone") / "c.pt"
    done = train(text, *_RUN, "--checkpoint_path", str(path))
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(autouse=True)
def hangups_count() -> Iterator[None]:
    """Whoever runs the tests under nohup, too: an ignored SIGHUP would be handed down."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def read_to(words: str, process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if words in line:
            return
    raise AssertionError("".join(lines))


def the_group(process: subprocess.Popen[str], number: int) -> None:
    """As `timeout` does: once to the process it started, once to the group that this belongs to."""
    os.kill(process.pid, number)
    os.killpg(process.pid, number)


def the_first(process: subprocess.Popen[str], number: int) -> None:
    os.kill(process.pid, number)


def the_second(process: subprocess.Popen[str], number: int) -> None:
    (child,) = psutil.Process(process.pid).children()
    child.send_signal(number)


@pytest.mark.parametrize(
    ("reach", "number"),
    [
        (the_group, signal.SIGTERM),
        (the_group, signal.SIGHUP),
        (the_first, signal.SIGUSR1),
        (the_second, signal.SIGTERM),
        (the_second, signal.SIGUSR1),
    ],
)
def test_whoever_is_reached_all_is_saved_and_goes_on_to_the_same_weights(
    alone: Path, text: str, tmp_path: Path, reach: Callable[[subprocess.Popen[str], int], None], number: int
) -> None:
    path = tmp_path / "c.pt"
    process = start(text, *_RUN, "--checkpoint_path", str(path))
    read_to("epoch 2/12", process)
    reach(process, number)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 130, printed
    assert "interrupted (go on with --resume)" in printed
    assert not any(word in printed for word in ("died", "Traceback", "Aborted"))
    load_whole(path)
    resumed = train("--resume", "--checkpoint_path", str(path))
    assert resumed.returncode == 0, resumed.stderr
    assert same(path, alone)


def test_under_nohup_a_hangup_is_nothing(alone: Path, text: str, tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    arguments = ["nohup", *command(text, *_RUN, "--checkpoint_path", str(path))]
    process = subprocess.Popen(arguments, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    read_to("epoch 2/12", process)
    os.killpg(process.pid, signal.SIGHUP)
    _, printed = process.communicate(timeout=120)
    assert process.returncode == 0, printed
    assert same(path, alone)


def test_a_reader_that_is_gone_costs_no_step(alone: Path, text: str, tmp_path: Path) -> None:
    """Ctrl-C ends both sides of `./neuroq train … 2>&1 | tee log`."""
    path = tmp_path / "c.pt"
    process = start(text, *_RUN, "--checkpoint_path", str(path))
    read_to("epoch 2/12", process)
    assert process.stderr is not None
    process.stderr.close()
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 130
    resumed = train("--resume", "--checkpoint_path", str(path))
    assert resumed.returncode == 0, resumed.stderr
    assert same(path, alone)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_while_text_is_read(alone: Path, tmp_path: Path, number: int) -> None:
    path = tmp_path / "c.pt"
    for module, checkpoint in (("train", path), ("train.evaluate", alone)):
        arguments = command("-", "--checkpoint_path", str(checkpoint), module=module)
        process = subprocess.Popen(
            arguments, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        while not any(
            file.path.startswith("/tmp/neuroq-") for file in psutil.Process(process.pid).open_files()
        ):
            assert process.poll() is None
            time.sleep(0.02)  # where standard input is kept
        process.send_signal(number)
        _, printed = process.communicate(timeout=30)
        expected = _ONE_LINE if module == "train" else "evaluate: interrupted"
        assert (process.returncode, printed.splitlines()) == (130, [expected])
    assert not path.exists()


def test_while_the_tokenizer_trains(tmp_path: Path) -> None:
    """It heeds no signal by itself, and takes half a minute here."""
    text = tmp_path / "text.txt"
    lines = (
        " ".join(chr(0x4E00 + (n * n * k) % 4999) * 2 + chr(0x3041 + n % 80) for k in range(40))
        for n in range(9000)
    )
    text.write_text("\n".join(lines), encoding="utf-8")
    process = start(str(text), *_RUN, "--checkpoint_path", str(tmp_path / "c.pt"), "--vocab_size=8000")
    read_to("training the tokenizer", process)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    began = time.monotonic()
    _, printed = process.communicate(timeout=60)
    assert (process.returncode, printed.splitlines()) == (130, [_ONE_LINE])
    assert time.monotonic() - began < 5


def test_during_the_last_scores(alone: Path, text: str, tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    process = start(text, *_RUN, "--checkpoint_path", str(path))
    read_to("epoch 12/12", process)
    the_group(process, signal.SIGTERM)
    _, printed = process.communicate(timeout=60)
    assert (process.returncode, printed.splitlines()[-1]) == (130, _ONE_LINE), printed
    assert state_path(path).exists()
    resumed = train("--resume", "--checkpoint_path", str(path))
    assert resumed.returncode == 0, resumed.stderr
    assert same(path, alone)
    assert not state_path(path).exists()


def test_timeout_s_own_signals(text: str, tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    arguments = command(text, *_RUN, "--epochs=100000", "--checkpoint_path", str(path))
    done = subprocess.run(
        ["timeout", "--preserve-status", "25", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
    assert done.returncode == 130, done.stderr
    assert "interrupted (go on with --resume)" in done.stderr
    load_whole(path)


def test_torchrun_gives_the_signal_to_all(text: str, tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=29617"]
    arguments = [text, *_RUN, "--epochs=100000", "--checkpoint_path", str(path)]
    process = subprocess.Popen(
        [*launcher, "-m", "train", *arguments],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    read_to("epoch 2/100000", process)
    os.killpg(process.pid, signal.SIGTERM)
    _, printed = process.communicate(timeout=90)
    assert "interrupted (go on with --resume)" in printed, printed
    load_whole(path)
    assert state_path(path).exists()


@pytest.mark.parametrize("seconds", [0.3, 0.7, 1.1, 1.5, 1.9])
def test_while_modules_are_imported_and_the_run_begins(text: str, tmp_path: Path, seconds: float) -> None:
    """Anything may happen to an exception that is raised in the middle of an import."""
    for module in ("train", "train.evaluate", "train.package"):
        options = ["--checkpoint_path", str(tmp_path / "c.pt")]
        texts = [] if module == "train.package" else [text]
        process = subprocess.Popen(
            command(*texts, *options, module=module), cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, printed = process.communicate(timeout=60)
        assert not any(word in printed for word in ("Traceback", "Aborted")), printed
        if "there is no checkpoint" not in printed:  # it had ended by itself
            assert process.returncode == 130
            assert "interrupted" in printed


def test_while_python_ends() -> None:
    """What an exit handler raises is printed as a traceback, and nothing more comes of it."""
    code = (
        "import atexit, os, signal; from train import interruption; interruption.end_in_one_line(); "
        "atexit.register(os.kill, os.getpid(), signal.SIGINT); interruption.run(lambda: None)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.splitlines()) == (130, [_ONE_LINE])
