"""Text larger than memory, estimates, and torchrun: real processes, really measured."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from model.checkpoint import Checkpoint
from model.config import ModelConfig
from model.network import NeuroQ
from model.tokenizer import Tokenizer
from tests.conftest import ROOT
from train.arguments import PRESETS, TrainingArguments
from train.corpus import Document
from train.state import state_path

pytestmark = pytest.mark.integration
_SIZES = ["--embed_dim=32", "--num_neurons=16", "--num_layers=2", "--vocab_size=700", "--report=false"]
_TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "-m", "train"]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory, documents: list[Document]) -> str:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    lines = [line for document in documents for line in document.lines if len(line) > 5]
    path.write_text("\n".join(lines[:300]), encoding="utf-8")
    return str(path)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return Checkpoint.load(path).weights


def validation_score(path: Path) -> float:
    return float(Checkpoint.load(path).lineage["metrics"]["validation_bits_per_char"])


def peak_bytes(command: list[str]) -> int:
    """Run a command and return the most memory that it held."""
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
    assert process.stderr
    printed = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    assert process.returncode == 0, printed
    return usage.ru_maxrss * 1024


def test_memory_does_not_grow_with_the_text(
    tmp_path: Path, tokenizer: Tokenizer, documents: list[Document]
) -> None:
    """A whole run, from reading to the last score."""
    (tmp_path / "t.model").write_bytes(tokenizer.model_bytes)
    lines = [line for document in documents for line in document.lines if len(line) > 5]
    peaks, sizes = [], []
    for name, repeats in (("small", 1), ("large", 130)):
        path = tmp_path / f"{name}.txt"
        with path.open("w", encoding="utf-8") as file:
            for number in range(repeats):
                file.writelines(f"{number}、{line}\n" for line in lines)
        sizes.append(path.stat().st_size)
        options = ["--tokenizer_path", str(tmp_path / "t.model"), "--checkpoint_path", str(tmp_path / "c.pt")]
        options += [*_SIZES, "--processes=1", "--minutes=0.001", "--validation_fraction=0.0001"]
        peaks.append(peak_bytes([sys.executable, "-m", "train", str(path), *options]))
    print(f"text {sizes[0] / 1e6:.1f} and {sizes[1] / 1e6:.1f} MB, peaks {peaks[0]:,} and {peaks[1]:,} bytes")
    assert sizes[1] > 40e6
    assert peaks[1] - peaks[0] < 0.5 * (sizes[1] - sizes[0])


# Seconds of the processor, not of the wall: another program may take it meanwhile.
_MEASURE = """
import json, sys, time
time.perf_counter = time.process_time
from model.tokenizer import Tokenizer
from pathlib import Path
from train.arguments import PRESETS, TrainingArguments
from train.corpus import BUILT_IN, read_documents
from train.encoded import encode
from train.estimate import estimate
from train.loop import Trainer
from train.processes import Alone
from train.beginning import model_config
from train.score import score

arguments = TrainingArguments(**PRESETS[sys.argv[2]] | {"processes": 1, "minutes": 0.0, "epochs": 1})
texts = read_documents([str(BUILT_IN / "varied")])[:400]
documents = encode(texts, Tokenizer.load(Path(sys.argv[1])))
config = model_config(arguments, 8000, documents)
told = estimate(arguments, config, documents.num_predicted, 1)
trainer = Trainer(arguments, config, documents)
steps = [report.seconds for report in trainer.run(Alone())]
score(trainer.model, documents.sample(100))
print(json.dumps([told.num_bytes, told.seconds / told.num_steps, sorted(steps)[len(steps) // 2]]))
"""


@pytest.mark.parametrize("preset", ["seed", "small"])
def test_the_estimate_is_within_a_factor_of_two(tmp_path: Path, tokenizer: Tokenizer, preset: str) -> None:
    (tmp_path / "t.model").write_bytes(tokenizer.model_bytes)
    command = [sys.executable, "-c", _MEASURE, str(tmp_path / "t.model"), preset]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout
    with process.stdout as printed:
        estimated_bytes, estimated_seconds, seconds = json.loads(printed.read())
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    print(preset, f"{estimated_bytes:,} {usage.ru_maxrss * 1024:,} bytes, {estimated_seconds} {seconds} s")
    assert 0.5 < estimated_bytes / (usage.ru_maxrss * 1024) < 2
    assert 0.5 < estimated_seconds / seconds < 2


def test_base_has_about_a_hundred_million_parameters() -> None:
    arguments = TrainingArguments(**PRESETS["base"])
    names = ("vocab_size", "embed_dim", "num_heads", "num_layers", "num_neurons", "tied", "dropout")
    config = ModelConfig(
        context_length=arguments.seq_length, **{name: getattr(arguments, name) for name in names}
    )
    with torch.device("meta"):
        network = NeuroQ(config)
    assert 90e6 < network.num_parameters < 110e6


def test_a_network_that_has_no_room_is_refused(tmp_path: Path, text: str) -> None:
    options = ["--embed_dim=65536", "--num_layers=1000", "--vocab_size=700", "--report=false"]
    command = [sys.executable, "-m", "train", text, "--checkpoint_path", str(tmp_path / "c.pt"), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.search(r"train: the network needs [\d.]+ GB of memory, [\d.]+ GB are free", done.stderr)
    assert "Traceback" not in done.stderr


def test_torchrun_scores_like_one_process_with_the_doubled_batch(tmp_path: Path, text: str) -> None:
    """--batch_size counts the windows of all processes: each of the two takes 8 of 16."""
    options = [text, *_SIZES, "--epochs=6", "--dropout=0", "--batch_size=16", "--lr=0.01"]
    two, one, untrained = (tmp_path / name / "c.pt" for name in ("two", "one", "untrained"))
    done = subprocess.run(
        [*_TORCHRUN, *options, "--checkpoint_path", str(two)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^trained in", done.stderr, re.MULTILINE)) == 1  # one process speaks
    assert "2 process(es)" in done.stderr
    alone = [sys.executable, "-m", "train", *options, "--processes=1", "--checkpoint_path"]
    subprocess.run([*alone, str(one)], cwd=ROOT, check=True, capture_output=True)
    subprocess.run([*alone, str(untrained), "--epochs=1"], cwd=ROOT, check=True, capture_output=True)
    print(validation_score(two), validation_score(one), validation_score(untrained))
    difference = abs(validation_score(two) - validation_score(one))
    assert difference < 0.02
    assert validation_score(untrained) - validation_score(one) > 10 * 0.02  # what training brings


def test_a_run_of_torchrun_is_interrupted_and_goes_on_to_the_same_weights(tmp_path: Path, text: str) -> None:
    options = [text, *_SIZES, "--epochs=8", "--checkpoint_path"]
    whole, parted = tmp_path / "whole" / "c.pt", tmp_path / "parted" / "c.pt"
    subprocess.run([*_TORCHRUN, *options, str(whole)], cwd=ROOT, check=True, capture_output=True)
    process = subprocess.Popen(
        [*_TORCHRUN, *options, str(parted)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not parted.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=60)
    assert "interrupted (go on with --resume)" in printed
    assert state_path(parted).exists()
    resume = ["--resume", "--checkpoint_path", str(parted), "--report=false"]
    other = [*(part.replace("node=2", "node=1") for part in _TORCHRUN), *resume]
    refused = subprocess.run(other, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "the run began with 2 process(es), it cannot be resumed with 1" in refused.stderr
    done = subprocess.run([*_TORCHRUN, *resume], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert weights(parted).keys() == weights(whole).keys()
    assert all(torch.equal(weights(parted)[name], value) for name, value in weights(whole).items())
