from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from model.apqb import correlation
from model.config import ModelConfig
from model.dialogue import Style
from model.tokenizer import Tokenizer
from tests.conftest import tiny_model
from train.angles import CORRELATION_FROM, edges, measure_angles
from train.arguments import TrainingArguments
from train.history import MOST_POINTS, Evaluation, History, is_due
from train.loop import Position, StepReport
from train.optimizer import Update
from train.samples import PROMPTS, Sample, take_samples
from train.state import TrainingState
from train.text_quality import TextQuality

pytestmark = pytest.mark.unit


def step(number: int, *, gradient_norm: float = 0.5) -> StepReport:
    update = Update(lr=0.001 * number, matrix_lr=0.01 * number, gradient_norm=gradient_norm)
    return StepReport(
        position=Position(0, number),
        done=number / 10_000,
        nats=(100 + number) * math.log(2),
        num_tokens=100,
        update=update,
        seconds=0.5,
        stopped=False,
        epochs_done=number / 1000,
    )


def history(num_steps: int) -> History:
    made = History()
    for number in range(num_steps):
        made.add_step(step(number))
    return made


def test_a_step_is_put_down_in_bits() -> None:
    (point,) = history(1).points
    assert point.bits_per_token == pytest.approx(1.0)
    assert point.tokens_per_second == 200
    assert (point.lr, point.matrix_lr, point.gradient_norm) == (0.0, 0.0, 0.5)


@pytest.mark.parametrize("num_steps", [1, MOST_POINTS, MOST_POINTS + 1, 3 * MOST_POINTS + 7, 9 * MOST_POINTS])
def test_thinning_bounds_the_points_and_loses_no_sum(num_steps: int) -> None:
    made = history(num_steps)
    assert min(num_steps, MOST_POINTS // 2) <= len(made.points) <= MOST_POINTS
    assert made.num_steps == num_steps
    assert made.tokens_seen[-1] == 100 * num_steps
    bits = sum(point.bits for point in made.points)
    assert bits == pytest.approx(sum(100 + number for number in range(num_steps)))
    assert {point.num_steps for point in made.points[:-1]} <= {made.points[0].num_steps}
    assert made.points[-1].lr == pytest.approx(0.001 * (num_steps - 1))


def test_a_spike_of_the_gradient_survives_thinning() -> None:
    made = History()
    for number in range(5 * MOST_POINTS):
        made.add_step(step(number, gradient_norm=77.0 if number == 1234 else 0.5))
    assert max(point.gradient_norm for point in made.points) == 77.0


@pytest.mark.parametrize(
    ("epochs", "most", "expected"), [(3, 10, 3), (16, 10, 8), (25, 10, 9), (1000, 10, 10), (1, 10, 1)]
)
def test_what_is_due_is_evenly_spread_and_bounded(epochs: int, most: int, expected: int) -> None:
    due = [epoch for epoch in range(1, epochs + 1) if is_due(epoch, epochs, most)]
    assert len(due) == expected
    assert due[-1] == epochs


def test_it_goes_through_a_training_state(tokenizer: Tokenizer, tmp_path: Path) -> None:
    made = history(5)
    model = tiny_model(tokenizer.vocab_size)
    samples = (Sample("こんにちは", "はい"),)
    made.evaluations.append(Evaluation(0, 0, None, measure_angles(model)))
    text = TextQuality(repetition=0.25, validity=1.0)
    made.evaluations.append(Evaluation(1, 5, 4.5, measure_angles(model), samples, text))
    made.held_out_text = TextQuality(0.125, 1.0)
    state = TrainingState(
        TrainingArguments(), ModelConfig(), None, "f", b"t", 1, 0, {}, {}, 2.0, 0.5, made, {}, {}
    )
    state.save(tmp_path / "state.pt")
    assert TrainingState.load(tmp_path / "state.pt").history == made


def test_angles_are_counted_layer_by_layer() -> None:
    model = tiny_model(300)
    layers = measure_angles(model)
    assert [(layer.block, layer.path) for layer in layers] == [
        (block, path) for block in (1, 2) for path in ("attention", "feed-forward")
    ]
    assert [sum(layer.correlation.counts) for layer in layers] == [16, 32, 16, 32]
    assert [sum(layer.temperature.counts) for layer in layers] == [16, 32, 16, 32]
    r = correlation(model.blocks[1].qbnn.theta.detach())  # type: ignore[union-attr, operator]
    assert layers[3].correlation.mean == pytest.approx(r.mean().item())
    assert layers[3].correlation.counts == tuple(np.histogram(r.numpy(), edges(CORRELATION_FROM))[0])


@pytest.mark.parametrize("style", ["dialogue", "text"])
def test_sampling_leaves_no_trace(tokenizer: Tokenizer, style: Style) -> None:
    model = tiny_model(tokenizer.vocab_size).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    samples = take_samples(model, tokenizer, style)
    assert torch.equal(torch.rand(3), expected)
    assert [sample.prompt for sample in samples] == list(PROMPTS[style])
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_prompt_that_does_not_fit_is_left_out(tokenizer: Tokenizer) -> None:
    model = tiny_model(tokenizer.vocab_size, context_length=2)
    assert take_samples(model, tokenizer, "dialogue") == ()
