"""SIGKILL at any moment: the run goes on, and ends with the weights of a run that was left alone."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from model.checkpoint import CHECKPOINT_NAME, TOKENIZER_NAME
from tests.integration.training import load_whole, same, start, train, write_dialogues
from train.corpus import Document
from train.state import state_path

pytestmark = pytest.mark.integration
_SIZES = ["--embed_dim=16", "--num_heads=2", "--num_neurons=8", "--num_layers=1", "--vocab_size=500"]
_RUN = [*_SIZES, "--batch_size=8", "--lr=0.02", "--epochs=18", "--report=false"]
_EARLY = ("starting", "tokenizer", "first state")  # before anything is saved
_LATER = ("step", "step", "step", "state", "checkpoint", "tokenizer file")


def killed_run(path: Path, arguments: list[str], seed: int) -> None:
    """Kill a run ten times, the last time while it finishes, and go on each time.

    At the end nothing may be left over: no process, no temporary file, no state.
    """
    rng = random.Random(seed)
    temporary = path.parent / "tmp"
    temporary.mkdir()
    environment = {"TMPDIR": str(temporary)}
    for moment in (*_EARLY, *rng.sample(_LATER, len(_LATER)), "finish"):
        process = start(*arguments, "--resume", "--checkpoint_path", str(path), environment=environment)
        _wait_for(moment, process, path, rng)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL or moment == "finish", f"{moment}: the run had ended"
        _wait_until_nothing_runs(process.pid)
        if path.exists():
            load_whole(path)
    process = start(*arguments, "--resume", "--checkpoint_path", str(path), environment=environment)
    _, printed = process.communicate()
    assert process.returncode == 0, printed
    assert [each.name for each in temporary.iterdir() if not each.name.startswith("torchinductor")] == []
    left = {each.name for each in path.parent.iterdir()} - {temporary.name}
    assert left == {path.name, TOKENIZER_NAME, f".{path.name}.lock", f"{path.stem}.tokens"}


def _wait_for(moment: str, process: subprocess.Popen[str], path: Path, rng: random.Random) -> None:
    """Return at a moment of the run; in most sittings an epoch or more passes before it."""
    if moment == "starting":
        time.sleep(rng.uniform(0.2, 2.0))
    elif moment == "tokenizer":
        _read_to("documents to train on", process)
        time.sleep(rng.uniform(0, 0.02))
    elif moment == "first state":
        _read_to("tokens an epoch", process)
        _wait_for_file(_temporary(state_path(path)), process)
    elif moment == "finish":
        _read_to("epoch 18/18", process)
    else:
        for _ in range(rng.randint(1, 2) if moment == "step" else 1):
            _read_to("bits per character", process)
        if moment == "step":
            time.sleep(rng.uniform(0, 0.5))
        else:
            _read_to("bits per character", process)  # the sitting's second one: its files are written next
            name = {"state": state_path(path).name, "checkpoint": path.name, "tokenizer file": TOKENIZER_NAME}
            _wait_for_file(_temporary(path.with_name(name[moment])), process)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")


def _read_to(text: str, process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if text in line:
            return
    raise AssertionError("".join(lines))


def _wait_for_file(path: Path, process: subprocess.Popen[str]) -> None:
    """Return while a file is being written: no pause, it takes a millisecond or two."""
    while not path.exists():
        assert process.poll() is None


def _wait_until_nothing_runs(session: int) -> None:
    deadline = time.monotonic() + 30
    while left := _members(session):
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


def _members(session: int) -> list[int]:
    found = []
    for process in psutil.pids():
        with suppress(ProcessLookupError):
            if os.getsid(process) == session:
                found.append(process)
    return found


@pytest.fixture
def text(tmp_path: Path, documents: list[Document]) -> str:
    return write_dialogues(tmp_path / "text.jsonl", documents, 80)


def test_twenty_kills_change_no_weight(tmp_path: Path, text: str) -> None:
    """Two runs, side by side: one keeps its last weights, the other its best."""
    plain = [text, *_RUN]
    best = [text, *_RUN, "--patience=1000", "--validation_fraction=0.2"]
    alone = [tmp_path / name / CHECKPOINT_NAME for name in ("plain alone", "best alone")]
    killed = [tmp_path / name / CHECKPOINT_NAME for name in ("plain killed", "best killed")]
    for path in killed:
        path.parent.mkdir()
    with ThreadPoolExecutor(2) as pool:
        references = list(
            pool.map(
                lambda path, arguments: train(*arguments, "--checkpoint_path", str(path)),
                alone,
                (plain, best),
            )
        )
        list(pool.map(killed_run, killed, (plain, best), (1, 2)))
    assert [reference.returncode for reference in references] == [0, 0], references
    assert all(map(same, alone, killed))
    assert load_whole(killed[0]).lineage["epochs_done"] == 18
    assert load_whole(killed[1]).lineage["epochs_done"] <= 18
    again = train(*plain, "--resume", "--checkpoint_path", str(killed[0]))
    assert (again.returncode, "nothing to go on with" in again.stderr) == (0, True), again.stderr
    other = train(text, "--resume", "--checkpoint_path", str(killed[0]), "--lr=0.5")
    assert (other.returncode, "the run began with lr 0.02" in other.stderr) == (1, True), other.stderr


def test_a_killed_second_process_ends_the_run_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run" / CHECKPOINT_NAME
    arguments = [text, *_SIZES, "--epochs=1000", "--report=false", "--checkpoint_path", str(path)]
    process = start(*arguments)
    _read_to("epoch 1/1000", process)
    (second,) = (each for each in psutil.Process(process.pid).children() if each.is_running())
    second.kill()
    _, printed = process.communicate()
    assert process.returncode == 1
    (error,) = (line for line in printed.splitlines() if not line.startswith("epoch"))
    assert error == "train: another process of the run has died; go on with --resume"
    load_whole(path)
    assert state_path(path).exists()
