"""benchmarks/engine runs and writes its results. No time is judged here."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.engine.figures import MIN_CLEAN, Figures
from benchmarks.engine.floor import Floor, measure_floors, work
from benchmarks.engine.rounds import Cell
from benchmarks.engine.sample import Sample
from model.config import ModelConfig
from model.native.decoder import is_available
from model.network import NeuroQ
from tests.conftest import ROOT

pytestmark = pytest.mark.integration

OURS, RIVAL = Cell("neuroq-int8", 1, 50), Cell("ctranslate2-int8", 1, 50)
CLEAN = Sample(tokens=100, wall=1.0, cpu=0.8, waited=0.0)
DISTURBED = Sample(tokens=100, wall=4.0, cpu=1.0, waited=3.0)


def test_one_tiny_round(tmp_path: Path) -> None:
    engines = ["neuroq-pytorch", "original", *(["neuroq-int8"] if is_available() else [])]
    choice = [f"--engine={name}" for name in [*engines, "ctranslate2-int8"]]
    sizes = ["--batch=1", "--batch=2", "--new-tokens=3", "--rounds=1", "--seconds=0"]
    command = [sys.executable, "-m", "benchmarks.engine", *choice, *sizes, f"--output={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "engine.json").read_text())
    # An engine that is not installed, here perhaps CTranslate2, is left out by name.
    measured = {cell["engine"] for cell in results["cells"]}
    assert set(engines) <= measured
    assert measured ^ set(results["left_out"]) == {*engines, "ctranslate2-int8"}
    assert all(cell["tokens"] == [3 * cell["batch_size"]] for cell in results["cells"])
    assert {cell["batch_size"] for cell in results["cells"] if cell["engine"] == "original"} == {1}
    assert "## 3 new tokens" in (tmp_path / "engine.md").read_text()


def test_medians_by_wall_time_of_undisturbed_samples() -> None:
    figures = Figures({OURS: [CLEAN] * MIN_CLEAN + [DISTURBED] * 9})
    assert figures.is_by_wall(OURS)
    assert figures.rate(OURS) == 100


def test_processor_time_where_too_few_samples_are_undisturbed() -> None:
    figures = Figures({OURS: [CLEAN] + [DISTURBED] * 2, RIVAL: [CLEAN] * MIN_CLEAN})
    assert not figures.is_by_wall(OURS)
    assert figures.rate(OURS) == 100
    assert figures.rate(RIVAL) == 100
    assert figures.ratio(OURS, RIVAL) == pytest.approx(100 / 125)  # both by processor time
    assert figures.rate(Cell("original", 1, 50)) is None
    assert figures.ratio(OURS, Cell("original", 1, 50)) is None


def test_work_of_a_token() -> None:
    config = ModelConfig(
        vocab_size=50, embed_dim=8, num_heads=2, num_layers=2, num_neurons=3, context_length=16, num_steps=3
    )
    attention, mlp = 4 * 8 * 8, 8 * 8 * 8
    narrow, wide = 2 * 8 * 3, 2 * 8 * 6  # a QBNN layer's two projections; its W and J come on top
    weights = attention + mlp + narrow + 2 * 3 * 3 + wide + 2 * 6 * 6
    macs = attention + mlp + 2 * (narrow + 3 * 2 * 3 * 3) + wide + 3 * 2 * 6 * 6  # queries and keys: twice
    assert work(NeuroQ(config).eval()) == (2 * weights + 50 * 8, 2 * macs + 50 * 8)


def test_the_floor_is_reading_for_one_row_and_multiplying_for_many() -> None:
    floor = Floor("int8", weight_bytes=10**6, macs=10**6, gigabytes_per_second=100, gigamacs_per_second=1000)
    assert floor.tokens_per_second(1) == pytest.approx(100_000)
    assert floor.tokens_per_second(100) == pytest.approx(1_000_000)


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_the_machines_floor_is_measured() -> None:
    floors = measure_floors()
    assert "float32" in floors
    assert all(floor.gigabytes_per_second > 0 and floor.gigamacs_per_second > 0 for floor in floors.values())
