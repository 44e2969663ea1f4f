from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.batches import IGNORE, collate
from train.encoded import EncodedDocument, EncodedDocuments
from train.plan import EpochPlan, covered_positions

pytestmark = pytest.mark.unit
BEGIN, END = 2, 3


def document(number: int, length: int, is_dialogue: bool = True) -> EncodedDocument:
    body = np.arange(length) + 100 * (number + 1)
    return EncodedDocument(np.concatenate([[BEGIN], body, [END]]), is_dialogue, length, number)


_DOCUMENTS = st.lists(st.tuples(st.integers(1, 60), st.booleans()), min_size=1, max_size=30)


def make(shapes: list[tuple[int, bool]]) -> EncodedDocuments:
    return EncodedDocuments.of(document(i, n, d) for i, (n, d) in enumerate(shapes))


@given(_DOCUMENTS, st.integers(8, 40), st.integers(0, 5))
def test_every_token_is_predicted_exactly_once_an_epoch(
    shapes: list[tuple[int, bool]], length: int, seed: int
) -> None:
    documents = make(shapes)
    plan = EpochPlan(documents, length=length, batch_size=3, join=0.0, rng=random.Random(seed))
    predicted: Counter[int] = Counter()
    for number in range(len(plan)):
        windows = plan[number]
        assert 0 < len(windows) <= 3
        batch = collate(windows, length=length)
        predicted.update(batch.targets[batch.targets != IGNORE].tolist())
    assert predicted == Counter(int(i) for d in documents for i in d.ids[1:])


def test_pieces_overlap_by_one() -> None:
    documents = EncodedDocuments.of([EncodedDocument(np.arange(10), False, 10, 0)])
    plan = EpochPlan(documents, length=4, batch_size=9, join=0.0, rng=random.Random(0))
    pieces = sorted(piece.tolist() for window in plan[0] for piece in window)
    assert pieces == [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8], [8, 9]]


def pieces_of(documents: EncodedDocuments, length: int, join: float) -> list[np.ndarray]:
    plan = EpochPlan(documents, length=length, batch_size=1, join=join, rng=random.Random(0))
    return [piece for number in range(len(plan)) for window in plan[number] for piece in window]


def test_joined_dialogues_have_one_begin_and_one_end_and_fit() -> None:
    documents = make([(5, True)] * 20)
    joined = pieces_of(documents, 30, 1.0)
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
    documents = make(shapes)
    covered = covered_positions(documents, length=length, join=join)
    plan = EpochPlan(documents, length=length, batch_size=3, join=join, rng=random.Random(seed))
    longest = max(len(piece) - 1 for n in range(len(plan)) for window in plan[n] for piece in window)
    assert longest <= covered <= length


def test_plain_texts_are_never_joined() -> None:
    assert len(pieces_of(make([(5, False)] * 5), 99, 1.0)) == 5
