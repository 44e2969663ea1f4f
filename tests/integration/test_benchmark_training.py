"""benchmarks/training and benchmarks/layers run and write their results. No time is judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.layers.variants import VARIANTS, plain_gpt
from model.config import ModelConfig
from model.network import NeuroQ
from tests.conftest import ROOT
from tests.unit.test_training_pass import windows_of
from train.loss import make_loss, reference_loss

pytestmark = pytest.mark.integration


def run_benchmark(*arguments: str) -> str:
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def test_one_short_round_of_the_training_benchmark(tmp_path: Path) -> None:
    choice = ["--contender=plain", "--contender=neuroq-adamw", "--shape=16x48", "--rounds=1", "--seconds=0.1"]
    page = run_benchmark("benchmarks.training", *choice, f"--output={tmp_path}")
    assert page.strip() == (tmp_path / "training.md").read_text().strip()
    assert "| 16 x 48 | NeuroQ, AdamW" in page


def test_a_short_comparison_of_layers(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    turn = {"role": "user", "text": "今日は良い天気ですね。散歩に行きましょうか。" * 8}
    lines = [json.dumps({"turns": [{**turn, "text": f"{i}番。{turn['text']}"}]}) for i in range(300)]
    (data / "dialogue.jsonl").write_text("\n".join(lines))
    (data / "narrative.txt").write_text(
        "\n\n".join(f"{i}の話。むかしむかし、山がありました。" * 5 for i in range(60))
    )
    for name in ("rohan4600.txt", "ita.txt"):
        (data / name).write_text("雨が降る。\n風が吹く。\n")
    run_benchmark("benchmarks.layers", str(data), "--minutes=0.02", "--seed=0", f"--output={tmp_path}")
    results = json.loads((tmp_path / "layers.json").read_text())
    assert {each["variant"] for each in results} == {"neuroq", "gpt"}
    assert all(0 < each["bits_per_char"] < 15 for each in results)
    assert "plain GPT" in (tmp_path / "layers.md").read_text()


def test_the_plain_gpt_has_neuroq_s_number_of_parameters_and_no_qbnn_layer() -> None:
    config = ModelConfig()
    network = plain_gpt(config)
    assert network.num_parameters == pytest.approx(NeuroQ(config).num_parameters, rel=1e-3)
    assert not any("theta" in name for name, _ in network.named_parameters())


@pytest.mark.parametrize("name", [*VARIANTS])
def test_every_variant_has_a_training_pass_that_computes_its_loss(name: str) -> None:
    torch.manual_seed(0)
    config = ModelConfig(vocab_size=100, context_length=32, dropout=0.0, **VARIANTS[name].changes)
    network = VARIANTS[name].build(config).train()
    for parameter_name, parameter in network.named_parameters():
        if parameter_name.endswith("theta"):
            parameter.data.zero_()  # no noise
    ours, batch = make_loss(network, precision="fp32", seed=0, most_tokens=96), windows_of(3)
    assert ours(batch).item() == pytest.approx(
        reference_loss(network, precision="fp32")(batch).item(), rel=1e-4
    )
