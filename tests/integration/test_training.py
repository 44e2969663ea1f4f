"""The offline command as a user runs it: real processes, real signals, real files."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from model.checkpoint import Checkpoint, tokenizer_path, weights_sha256
from tests.conftest import ROOT
from tests.integration.training import command, load_whole, same, start, train, write_dialogues
from train.corpus import Document
from train.report import report_path
from train.state import state_path

pytestmark = pytest.mark.integration
_SIZES = ["--embed_dim=32", "--num_neurons=16", "--num_layers=2", "--epochs=3", "--vocab_size=700"]
_SMALL = [*_SIZES, "--report=false"]


def logged(path: Path, tag: str) -> dict[int, float]:
    """What TensorBoard reads of a run's report: step -> value."""
    logs = EventAccumulator(str(report_path(path) / "tensorboard"))
    logs.Reload()
    return {event.step: event.value for event in logs.Scalars(tag)}


def logged_losses(path: Path) -> dict[int, float]:
    return logged(path, "train/bits_per_token")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, documents: list[Document]) -> str:
    return write_dialogues(tmp_path_factory.mktemp("corpus") / "dialogues.jsonl", documents, 120)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, corpus: str) -> tuple[Path, str]:
    """The checkpoint of an uninterrupted run, and what the run printed."""
    path = tmp_path_factory.mktemp("finished") / "neuroq_checkpoint.pt"
    done = train(corpus, "--checkpoint_path", str(path), *_SIZES)
    assert done.returncode == 0, done.stderr
    return path, done.stderr


def test_it_reports_both_scores_and_the_vocabulary(finished: tuple[Path, str]) -> None:
    path, printed = finished
    assert re.search(r"epoch 3/3: bits per character: .*validation \d+\.\d+", printed), printed
    assert re.search(r"trained in \d+ s: bits per character: train \d+\.\d+, validation", printed), printed
    assert re.search(r"the text carries \d+ symbols, not 700", printed), printed
    lineage = Checkpoint.load(path).lineage
    assert lineage["style"] == "dialogue"
    assert lineage["arguments"]["epochs"] == 3
    assert lineage["metrics"]["validation_bits_per_char"] < 12
    assert len(lineage["data"]["fingerprint"]) == 64
    assert not state_path(path).exists()


def test_a_finished_run_leaves_a_report(finished: tuple[Path, str]) -> None:
    path, printed = finished
    folder = report_path(path)
    assert f"report {folder / 'index.html'}" in printed
    page = (folder / "index.html").read_text(encoding="utf-8")
    images = re.findall(r'<img src="([^"]+)"', page)
    assert len(images) == 8
    for name in images:
        with Image.open(folder / name) as image:
            image.verify()
    assert "finished after 3 of 3 epochs" in page
    assert all(f"epoch {epoch}" in page for epoch in (1, 2, 3))  # the samples
    checkpoint = Checkpoint.load(path)
    card = (folder / "README.md").read_text(encoding="utf-8")
    lineage = checkpoint.lineage
    names = (lineage["code_version"], lineage["data"]["fingerprint"], checkpoint.tokenizer_sha256)
    assert all(name in card for name in (*names, weights_sha256(checkpoint.weights), "dialogues.jsonl"))
    losses = logged_losses(path)
    assert list(losses) == list(range(1, len(losses) + 1))
    assert min(losses.values()) > 0


def test_a_seed_gives_the_same_weights_twice_and_another_seed_others(
    finished: tuple[Path, str], corpus: str, tmp_path: Path
) -> None:
    for name, arguments in (("again", []), ("other", ["--seed", "1"])):
        path = tmp_path / name / "c.pt"
        assert train(corpus, "--checkpoint_path", str(path), *_SMALL, *arguments).returncode == 0
        assert same(path, finished[0]) is (name == "again")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_goes_on_to_the_same_weights(
    finished: tuple[Path, str], corpus: str, tmp_path: Path, number: signal.Signals
) -> None:
    path = tmp_path / "neuroq_checkpoint.pt"
    process = subprocess.Popen(
        command(corpus, "--checkpoint_path", str(path), *_SIZES),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not path.exists() and time.monotonic() < deadline:  # written after the state
        time.sleep(0.02)
    if number is signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal's Ctrl-C reaches every process of the run
    else:
        process.kill()
    _, printed = process.communicate(timeout=60)
    if number is signal.SIGINT:
        assert process.returncode == 130, printed
        assert "interrupted" in printed
        assert "interrupted after" in (report_path(path) / "index.html").read_text(encoding="utf-8")
    assert path.exists()  # what was saved can be served
    load_whole(path)

    resumed = train("--resume", "--checkpoint_path", str(path))
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming in epoch" in resumed.stderr
    assert same(path, finished[0])
    assert logged_losses(path) == logged_losses(finished[0])  # from the first step on


def test_a_run_of_some_minutes_fits_its_schedule_to_them(corpus: str, tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    minutes = ["--minutes", "0.1", "--epochs", "1000", "--tied", "true"]
    done = train(corpus, "--checkpoint_path", str(path), *_SIZES, *minutes)
    assert done.returncode == 0, done.stderr
    took = re.search(r"trained in (\d+) s", done.stderr)
    assert took is not None
    assert 6 <= int(took.group(1)) < 30  # the last scores come after the minutes
    assert not state_path(path).exists()
    loaded = Checkpoint.load(path)
    assert loaded.lineage["epochs_done"] < 1000
    assert torch.equal(loaded.weights["head.weight"], loaded.weights["token_embedding.weight"])
    assert max(logged(path, "validation/bits_per_char")) == max(logged_losses(path))  # the last step's


def test_a_run_of_some_minutes_ends_in_time_however_long_its_documents(tmp_path: Path) -> None:
    text, path = tmp_path / "text.txt", tmp_path / "c.pt"
    document = "".join(chr(0x3041 + n * n % 83) for n in range(1_000_003))
    text.write_text("\n\n".join([document, "短い。", document[::-1], "終わり。"]))
    minutes = ["--minutes=0.1", "--epochs=1000", "--report=false", "--vocab_size=400"]
    done = train(str(text), "--checkpoint_path", str(path), *minutes, "--validation_fraction=0.5")
    assert done.returncode == 0, done.stderr
    took = re.search(r"trained in (\d+) s: .*scored on ([\d,]+) of [\d,]+ tokens", done.stderr)
    assert took is not None, done.stderr
    assert int(took.group(1)) < 60  # what is beside the scores takes as long as it takes
    scored, of = Checkpoint.load(path).lineage["metrics"]["validation_scored_tokens"]
    assert 0 < scored < of


def test_a_run_that_finds_no_better_model_ends_with_its_best(corpus: str, tmp_path: Path) -> None:
    """Learning by heart: the held-out score gets worse, soon enough to see it."""
    arguments = [corpus, *_SIZES, "--epochs=60", "--patience=2", "--lr=0.05", "--validation_fraction=0.3"]
    path = tmp_path / "alone" / "c.pt"
    done = train(*arguments, "--checkpoint_path", str(path))
    assert done.returncode == 0, done.stderr
    assert "stopped early: no better model in 2 evaluations" in done.stderr
    lineage = Checkpoint.load(path).lineage
    kept = lineage["epochs_done"]
    assert f"kept the best weights, those after epoch {kept:g}" in done.stderr
    assert f"epoch {kept + 2:g}/60" in done.stderr
    assert f"epoch {kept + 3:g}/60" not in done.stderr
    page = (report_path(path) / "index.html").read_text(encoding="utf-8")
    assert f"stopped early after {kept + 2:g} of 60 epochs, with the weights after epoch {kept:g}" in page
    scores = logged(path, "validation/bits_per_char")
    assert len(logged(path, "text/repetition")) == len(scores) == kept + 2
    assert not state_path(path).exists()

    killed = tmp_path / "killed" / "c.pt"
    process = start(*arguments, "--checkpoint_path", str(killed))
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(f"epoch {kept + 1:g}/60"):
            process.kill()
    process.communicate()
    resumed = train(*arguments, "--checkpoint_path", str(killed), "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert same(path, killed)


def test_a_single_process_computes_in_one_thread(corpus: str, tmp_path: Path) -> None:
    """On a busy machine the threads of one process wait for each other most of the time."""
    path = tmp_path / "c.pt"
    process = start(corpus, "--checkpoint_path", str(path), *_SMALL, "--processes=1", "--epochs=1000")
    assert process.stderr is not None
    while not process.stderr.readline().startswith("epoch 4/"):
        assert process.poll() is None
    times = sorted((thread.user_time for thread in psutil.Process(process.pid).threads()), reverse=True)
    process.kill()
    process.communicate()
    assert sum(times[1:]) < 0.3 * times[0], times  # those of reading and the tokenizer are over


def test_resuming_refuses_other_arguments_and_other_text(corpus: str, tmp_path: Path) -> None:
    path, text = tmp_path / "c.pt", tmp_path / "text.jsonl"
    text.write_text(Path(corpus).read_text())
    process = subprocess.Popen(
        command(str(text), "--checkpoint_path", str(path), *_SMALL, "--epochs", "50"),
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    while not state_path(path).exists():
        time.sleep(0.05)
    busy = train(str(text), "--checkpoint_path", str(path), *_SMALL)
    assert (busy.returncode, "another run is writing" in busy.stderr) == (1, True)
    process.kill()
    process.communicate()
    time.sleep(1)
    other = train("--resume", "--checkpoint_path", str(path), "--lr", "0.1")
    assert other.returncode == 1
    assert "the run began with lr 0.002" in other.stderr
    text.write_text('{"text": "別の文章です。"}')
    changed = train("--resume", "--checkpoint_path", str(path))
    assert changed.returncode == 1
    assert "the text has changed" in changed.stderr


def test_text_from_standard_input_makes_a_model_that_goes_on_with_text(tmp_path: Path) -> None:
    text = (
        "吾輩はここで猫の話をする。\n猫は日なたで眠る。\n夜になると外へ出る。\n朝には帰ってくる。\n" * 3
        + "犬は庭で待つ。\n"
    )
    path = tmp_path / "c.pt"
    done = train("-", "--checkpoint_path", str(path), *_SMALL, stdin=text)
    assert done.returncode == 0, done.stderr
    assert Checkpoint.load(path).lineage["style"] == "text"
    assert not report_path(path).exists()


def test_a_given_tokenizer_is_used(finished: tuple[Path, str], corpus: str, tmp_path: Path) -> None:
    given = tokenizer_path(finished[0])
    path = tmp_path / "c.pt"
    done = train(
        corpus, "--checkpoint_path", str(path), "--tokenizer_path", str(given), *_SMALL, "--epochs=1"
    )
    assert done.returncode == 0, done.stderr
    assert Checkpoint.load(path).tokenizer_model == given.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.txt"], "none.txt cannot be read"),
        (["-"], "the corpus holds no text"),
        (["--epochs", "0"], "epochs must be between 1 and"),
        (["--lr", "99"], "lr must be between"),
        (["--tokenizer_path", "none.model", "corpus"], "cannot read the tokenizer none.model"),
        (["--precision", "int3"], "precision must be one of auto, fp32, bf16"),
    ],
)
def test_errors_are_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = train(*arguments, "--checkpoint_path", str(tmp_path / "c.pt"), stdin="")
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_seeds_names_and_defaults() -> None:
    printed = " ".join(train("--help").stdout.split())
    for option in (
        "--epochs INTEGER Passes over the text. [default: 25]",
        "--batch_size, --batch-size INTEGER Windows a step, over all processes together. [default: 16]",
        "[default: 0.002]",
        "[default: 48]",
        "[default: checkpoints/neuroq_checkpoint.pt]",
        "--texts",
    ):
        assert option in printed, printed


def test_evaluate_prints_json(finished: tuple[Path, str], corpus: str) -> None:
    arguments = command(corpus, "--checkpoint_path", str(finished[0]), module="train.evaluate")
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    assert 0 < result["bits_per_char"] < 12
    assert result["documents"] == 120
