"""The share that is held out counts distinct documents, and never takes much more of the text."""

from __future__ import annotations

import itertools

import pytest

from train.corpus import Document, split
from train.survey import survey

pytestmark = pytest.mark.unit
_FAQ = [Document(text=f"質問{number}番の答えは{number * 37}です。") for number in range(60)]


def characters(documents: list[Document]) -> int:
    return sum(document.num_characters for document in {d.key: d for d in documents}.values())


def lines(first: int, last: int) -> Document:
    return Document(text="\n".join(f"{number}行目の文です。" for number in range(first, last)))


def test_a_text_written_ten_times_over_holds_out_what_it_would_written_once() -> None:
    once, tenfold = split(_FAQ, 0.05), split(_FAQ * 10, 0.05)
    assert len(once[1]) == 3
    assert set(tenfold[1]) == set(once[1])
    assert (len(tenfold[0]), len(tenfold[1])) == (570, 30)


@pytest.mark.parametrize("at", [1, 200, 399])
def test_a_stray_blank_line_does_not_cost_half_the_text(at: int) -> None:
    documents = [lines(0, at), lines(at, 400)]
    train, validation = split(documents, 0.05)
    assert characters(validation) <= 0.07 * characters(documents)
    assert train
    assert bool(validation) == (at != 200)


@pytest.mark.parametrize("fraction", [0.01, 0.05, 0.2])
def test_unequal_documents_are_held_out_by_size(fraction: float) -> None:
    sizes = [1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377]
    ends = list(itertools.accumulate(sizes, initial=0))
    documents = [lines(first, last) for first, last in itertools.pairwise(ends)]
    train, validation = split(documents, fraction)
    assert validation
    assert characters(validation) <= 1.25 * fraction * characters(documents) + 1
    assert len(train) + len(validation) == len(documents)
    assert set(split(documents[::-1], fraction)[1]) == set(validation)


def test_large_documents_among_small_ones_do_not_end_the_search() -> None:
    documents = [*_FAQ, *(lines(n * 1000, n * 1000 + 300) for n in range(1, 6))]
    validation = split(documents, 0.05)[1]
    assert len(validation) == 3
    assert set(validation) <= set(_FAQ)


def test_a_sample_is_left_when_what_it_took_is_held_out() -> None:
    documents = [lines(0, 5000), *_FAQ[:3]]
    found = survey(documents, 0.05, 20)
    assert found.held_out == {d.key for d in split(documents, 0.05)[1]}
    assert found.sample
    assert not {d.key for d in found.sample} & found.held_out
