from __future__ import annotations

import pytest

from train.corpus import Document, fingerprint, split
from train.survey import survey

pytestmark = pytest.mark.unit
TEXTS = [Document(text=f"これは{number}番目の文書です。") for number in range(1000)]


def test_a_text_that_fits_is_the_sample() -> None:
    found = survey(TEXTS, 0.1)
    train, validation = split(TEXTS, 0.1)
    assert found.sample == train
    assert found.fingerprint == fingerprint(TEXTS)
    assert found.held_out == {d.key for d in validation}


@pytest.mark.parametrize("limit", [100, 1000, 5000])
def test_a_larger_text_gives_a_sample_that_depends_on_its_content_alone(limit: int) -> None:
    found = survey(TEXTS, 0.1, limit)
    assert limit / 4 < sum(document.num_characters for document in found.sample) <= limit
    assert set(survey(list(reversed(TEXTS)), 0.1, limit).sample) == set(found.sample)
    assert not set(found.sample) & set(split(TEXTS, 0.1)[1])


def test_the_sample_is_never_empty() -> None:
    large = [Document(text="長い" * (1000 + number)) for number in range(5)]
    for texts in (large[:1], large):
        sample = survey(texts, 0.2, 50).sample
        assert len(sample) == 1
        assert sample[0] in split(texts, 0.2)[0]
