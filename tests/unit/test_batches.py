from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from train.batches import (
    IGNORE,
    EncodedDocument,
    blank_user_words,
    collate,
    covered_positions,
    cut,
    join_dialogues,
    plan_epoch,
)
from train.optimizer import schedule

pytestmark = pytest.mark.unit
BEGIN, END = 2, 3


def document(number: int, length: int, is_dialogue: bool = True) -> EncodedDocument:
    body = np.arange(length) + 100 * (number + 1)
    return EncodedDocument(np.concatenate([[BEGIN], body, [END]]), is_dialogue)


_DOCUMENTS = st.lists(st.tuples(st.integers(1, 60), st.booleans()), min_size=1, max_size=30)


@given(_DOCUMENTS, st.integers(8, 40), st.integers(0, 5))
def test_every_token_is_predicted_exactly_once_an_epoch(
    shapes: list[tuple[int, bool]], length: int, seed: int
) -> None:
    documents = [document(i, n, d) for i, (n, d) in enumerate(shapes)]
    plan = plan_epoch(documents, length=length, batch_size=3, join=0.0, rng=random.Random(seed))
    predicted: Counter[int] = Counter()
    for windows in plan:
        assert len(windows) <= 3
        batch = collate(windows, length=length)
        predicted.update(batch.targets[batch.targets != IGNORE].tolist())
    assert predicted == Counter(int(i) for d in documents for i in d.ids[1:])


def test_pieces_of_one_window_see_only_themselves() -> None:
    one, two = np.array([2, 10, 11, 3]), np.array([2, 20, 3])
    batch = collate([[one, two]], length=8)
    assert batch.inputs[0].tolist() == [2, 10, 11, 2, 20, 0, 0, 0]
    assert batch.targets[0].tolist() == [10, 11, 3, 20, 3, IGNORE, IGNORE, IGNORE]
    assert batch.positions[0].tolist() == [0, 1, 2, 0, 1, 0, 0, 0]
    assert batch.mask[0, 0, 2].tolist() == [True] * 3 + [False] * 5
    assert batch.mask[0, 0, 4].tolist() == [False] * 3 + [True] * 2 + [False] * 3
    assert batch.mask.any(-1).all()  # no query without anything to attend to


def test_pieces_overlap_by_one() -> None:
    pieces = cut(np.arange(10), 4)
    assert [piece.tolist() for piece in pieces] == [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8], [8, 9]]


def test_joined_dialogues_have_one_begin_and_one_end_and_fit() -> None:
    documents = [document(i, 5) for i in range(20)]
    joined = list(join_dialogues(documents, 1.0, 30, random.Random(0)))
    assert len(joined) < len(documents)
    for ids in joined:
        assert len(ids) <= 31
        assert (ids[0], ids[-1]) == (BEGIN, END)
        assert (ids[1:-1] >= 100).all()
    assert sum(len(ids) - 2 for ids in joined) == sum(len(d.ids) - 2 for d in documents)


@given(_DOCUMENTS, st.integers(8, 40), st.integers(0, 5), st.sampled_from([0.0, 0.5, 1.0]))
def test_no_piece_is_longer_than_the_positions_that_count_as_covered(
    shapes: list[tuple[int, bool]], length: int, seed: int, join: float
) -> None:
    documents = [document(i, n, d) for i, (n, d) in enumerate(shapes)]
    covered = covered_positions(documents, length=length, join=join)
    plan = plan_epoch(documents, length=length, batch_size=3, join=join, rng=random.Random(seed))
    longest = max(len(piece) - 1 for windows in plan for window in windows for piece in window)
    assert longest <= covered <= length


def test_plain_texts_are_never_joined() -> None:
    documents = [document(i, 5, is_dialogue=False) for i in range(5)]
    assert len(list(join_dialogues(documents, 1.0, 99, random.Random(0)))) == 5


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
