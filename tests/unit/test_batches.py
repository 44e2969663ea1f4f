from __future__ import annotations

import numpy as np
import pytest
import torch

from train.batches import IGNORE, blank_user_words, collate
from train.optimizer import schedule

pytestmark = pytest.mark.unit
BEGIN, END = 2, 3


def test_pieces_of_one_window_see_only_themselves() -> None:
    one, two = np.array([2, 10, 11, 3]), np.array([2, 20, 3])
    batch = collate([[one, two]], length=8)
    assert batch.inputs[0].tolist() == [2, 10, 11, 2, 20, 0, 0, 0]
    assert batch.targets[0].tolist() == [10, 11, 3, 20, 3, IGNORE, IGNORE, IGNORE]
    assert batch.positions[0].tolist() == [0, 1, 2, 0, 1, 0, 0, 0]
    assert batch.mask[0, 0, 2].tolist() == [True] * 3 + [False] * 5
    assert batch.mask[0, 0, 4].tolist() == [False] * 3 + [True] * 2 + [False] * 3
    assert batch.mask.any(-1).all()  # no query without anything to attend to


def test_blanking_touches_users_words_only() -> None:
    torch.manual_seed(0)
    user, assistant, end_of_turn = 4, 5, 6
    words = np.arange(100, 200)
    dialogue = np.concatenate([[BEGIN, user], words, [end_of_turn, assistant], words, [end_of_turn, END]])
    text = np.concatenate([[BEGIN], words, [END]])
    batch = collate([[dialogue, text]], length=310)
    blanked = blank_user_words(batch, 0.5)
    changed = (blanked.inputs != batch.inputs)[0].nonzero().flatten()
    assert 20 < len(changed) < 80
    assert (changed >= 2).all()
    assert (changed < 102).all()
    assert (blanked.inputs[0, changed] == 1).all()
    assert torch.equal(blanked.targets, batch.targets)
    assert blank_user_words(batch, 0.0) is batch


def test_the_schedule_rises_and_falls() -> None:
    values = [schedule(i / 100, 0.1) for i in range(101)]
    assert max(values) == pytest.approx(1.0)
    assert values.index(max(values)) == 10
    assert values[:11] == sorted(values[:11])
    assert values[10:] == sorted(values[10:], reverse=True)
    assert 0 < values[-1] < 0.05
