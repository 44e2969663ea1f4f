"""Alike texts are found among many as they would be one by one."""

from __future__ import annotations

import pytest

from train.alike import Alike
from train.answers import overlap
from train.document import Document

pytestmark = pytest.mark.unit


def test_as_the_comparison_one_by_one(documents: list[Document]) -> None:
    texts = [document.turns[0].text for document in documents if document.turns]
    known, asked = texts[:400], texts[300:600]
    for least in (0.3, 0.5, 0.9):
        alike = Alike(known, least)
        expected = [any(overlap(text, other) >= least for other in known) for text in asked]
        assert [text in alike for text in asked] == expected
        assert all(expected[:100])
        assert not all(expected)
    assert "何か" not in Alike([], 0.1)
