"""Users' turns in other words: never nothing, never another meaning, the same for a seed."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.dialogue import Turn
from train.document import Document
from train.variation import vary, vary_question

pytestmark = pytest.mark.unit


def variants(text: str, count: int = 400) -> set[str]:
    rng = random.Random(0)
    return {vary_question(text, rng) for _ in range(count)}


def test_what_people_change_is_changed() -> None:
    made = variants("返品はできますか")
    for other in ("返品はできますか？", "返品はできますか。", "返品はできますでしょうか", "返品はできる？"):
        assert other in made
    assert {"すみません、返品はできますか", "あの、返品はできますか？"} & made
    assert all("返品" in each for each in made)


def test_a_polite_request_becomes_a_plain_one_and_back() -> None:
    assert "開館時間を教えて" in variants("開館時間を教えてください")
    assert "開館時間を教えてください" in variants("開館時間を教えて")


@given(st.text(max_size=20), st.integers(0, 1000))
def test_no_question_becomes_nothing(text: str, seed: int) -> None:
    made = vary_question(text, random.Random(seed))
    assert made.strip() or not text.strip()
    assert made == vary_question(text, random.Random(seed))


def test_replies_and_texts_stay() -> None:
    dialogue = Document(turns=(Turn("user", "本は借りられますか"), Turn("assistant", "はい、できますか。")))
    made = [vary(dialogue, random.Random(seed)) for seed in range(50)]
    assert {each.turns[1] for each in made} == {dialogue.turns[1]}
    assert len({each.turns[0] for each in made}) > 10
    assert dialogue in made
    text = Document(text="本は借りられますか")
    assert {vary(text, random.Random(seed)) for seed in range(50)} == {text}
