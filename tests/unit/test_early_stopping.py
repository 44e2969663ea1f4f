from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model.config import ModelConfig
from train.arguments import TrainingArguments
from train.early_stopping import EarlyStopping, Kept, judge
from train.history import History
from train.state import TrainingState
from train.text_quality import TextQuality

pytestmark = pytest.mark.unit
_SOUND = TextQuality(repetition=0.05, validity=1.0)


def kept(epoch: int) -> Kept:
    return Kept(epoch, {"validation_bits_per_char": 4.0}, {"w": torch.full((2,), float(epoch))})


def run(patience: int, *scores: float) -> EarlyStopping:
    stopping = EarlyStopping(patience)
    for epoch, score in enumerate(scores, start=1):
        assert not stopping.is_over
        stopping.note(score, kept(epoch))
    return stopping


@pytest.mark.parametrize(
    ("patience", "scores", "is_over", "best"),
    [
        (2, (5, 4, 3), False, 3),
        (2, (5, 4, 4.5), False, 2),
        (2, (5, 4, 4.5, 4.2), True, 2),
        (2, (5, 4, 4.5, 3.9, 4.1), False, 4),
        (1, (5, 5), True, 1),  # as good is not better
        (3, (5, 6, 7), False, 1),
        (0, (5, 6, 7, 8, 9), False, 1),
    ],
)
def test_it_ends_after_evaluations_in_a_row_without_a_better_one(
    patience: int, scores: tuple[float, ...], is_over: bool, best: int
) -> None:
    stopping = run(patience, *scores)
    assert stopping.is_over is is_over
    assert stopping.best is not None
    assert stopping.best.epochs_done == best
    assert stopping.best.weights["w"].tolist() == [best, best]


def test_the_best_weights_are_a_copy() -> None:
    weights = {"w": torch.zeros(2)}
    stopping = EarlyStopping(1)
    stopping.note(4.0, Kept(1, {}, weights))
    weights["w"] += 1
    assert stopping.best is not None
    assert stopping.best.weights["w"].tolist() == [0, 0]


def test_it_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    before = run(2, 5, 4, 4.5)
    arguments, config = TrainingArguments(), ModelConfig()
    state = TrainingState(
        arguments, config, None, "f", b"t", 3, 0, {}, {}, 2.0, 0.5, History(), {}, before.state_dict()
    )
    state.save(path)
    after = EarlyStopping(2)
    after.load_state_dict(TrainingState.load(path).early_stopping)
    for stopping in (before, after):
        stopping.note(4.3, kept(4))
        assert stopping.is_over
        assert stopping.best is not None
        assert stopping.best.epochs_done == 2
    assert after.best is not None
    assert after.best.metrics == {"validation_bits_per_char": 4.0}
    assert after.best.weights["w"].tolist() == [2, 2]


def test_sound_text_leaves_the_judgement_to_the_held_out_score() -> None:
    assert judge(4.0, _SOUND, _SOUND) == 4.0
    assert judge(4.0, TextQuality(0.0, 1.0), _SOUND) == 4.0
    assert judge(4.0, TextQuality(0.30, 0.8), TextQuality(0.35, 0.7)) == 4.0  # so is the corpus


def test_a_better_score_with_degenerate_text_is_no_progress() -> None:
    assert judge(3.9, TextQuality(0.4, 1.0), _SOUND) > judge(4.0, _SOUND, _SOUND)
    assert judge(3.9, TextQuality(0.05, 0.7), _SOUND) > judge(4.0, _SOUND, _SOUND)


def test_a_flat_score_with_better_text_is_progress() -> None:
    scores = [judge(4.0, TextQuality(repetition, 1.0), _SOUND) for repetition in (0.6, 0.5, 0.4, 0.3)]
    assert not run(1, *scores).is_over
