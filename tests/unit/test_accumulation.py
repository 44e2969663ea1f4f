from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.conftest import tiny_config
from train.arguments import TrainingArguments
from train.batches import micro_batches
from train.encoded import EncodedDocument, EncodedDocuments
from train.loop import Trainer
from train.processes import Alone

pytestmark = pytest.mark.unit
_LENGTH, _VOCABULARY = 16, 100


def documents(count: int) -> EncodedDocuments:
    draw = np.random.default_rng(0)
    lengths = draw.integers(5, _LENGTH, count)
    return EncodedDocuments.of(
        EncodedDocument(draw.integers(7, _VOCABULARY, length), False, int(length), number)
        for number, length in enumerate(lengths)
    )


def train(batch_size: int, steps: int) -> tuple[dict[str, torch.Tensor], list[float]]:
    """The gradients of the first step, and the losses of all."""
    arguments = TrainingArguments(
        epochs=2,
        batch_size=batch_size,
        gradient_accumulation_steps=steps,
        seq_length=_LENGTH,
        dropout=0.0,
        precision="fp32",
    )
    config = tiny_config(_VOCABULARY, context_length=_LENGTH, dropout=0.0)
    trainer = Trainer(arguments, config, documents(50))
    run = trainer.run(Alone())
    losses = [next(run).nats]
    gradients = {n: p.grad.clone() for n, p in trainer.model.named_parameters() if p.grad is not None}
    return gradients, losses + [report.nats for report in run]


def test_small_batches_add_up_to_a_large_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.qbnn.NOISE_SCALE", 0.0)
    gradients, losses = train(batch_size=12, steps=1)
    accumulated, losses_of_parts = train(batch_size=3, steps=4)
    assert len(losses) > 4
    assert losses_of_parts == pytest.approx(losses, rel=1e-3)
    assert len(gradients) > 20
    for name, gradient in gradients.items():
        assert torch.allclose(accumulated[name], gradient, rtol=1e-3, atol=1e-6), name
    other, _ = train(batch_size=3, steps=1)
    assert not torch.allclose(other["head.weight"], gradients["head.weight"], rtol=0.1)


def test_what_is_left_over_is_a_smaller_batch() -> None:
    windows = [[np.arange(number)] for number in range(7)]
    assert [len(part) for part in micro_batches(windows, 3)] == [3, 3, 1]
    assert micro_batches([], 3) == []
