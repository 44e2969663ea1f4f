from __future__ import annotations

import pytest

from model.tokenizer import Tokenizer
from train.corpus import Document
from train.encoded import encode
from train.text_quality import TextQuality, measure, measure_documents

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "repetition"),
    [
        ("猫は日なたで眠る。", 0.0),
        ("そうですそうです", 1 / 5),  # そうです is one of five 4-grams, and stood there before
        ("はいはいはいはい", 3 / 5),  # はいはい and いはいは are new
        ("ああああああああ", 4 / 5),
        ("はい", 0.0),
    ],
)
def test_repetition_is_the_share_of_4_grams_that_stood_there_before(text: str, repetition: float) -> None:
    assert measure([text]).repetition == pytest.approx(repetition)


@pytest.mark.parametrize(
    "text",
    [
        "ひらがなカタカナ漢字",
        "１２３、。「」〜～ー…―",
        "ASCII & 123\n\tlines",
        "髙﨑①㈱",
        "ｶﾀｶﾅ é α",
        "𠮷野家で𩸽を食べる",  # beyond the BMP
        "かﾞ 葛\U000e0100飾",  # a variation selector
        "😀🎉👨\u200d👩\u200d👧🇯🇵👍🏽❤\ufe0f",
        "\U0001fae8\U0001fadf",  # emoji of Unicode 15 and 16
        "안녕 สวัสดี привет مرحبا",
        "\ufb01 \u00ad\u200b\ufeff",  # invisible, yet assigned
    ],
)
def test_characters_of_any_script_are_valid(text: str) -> None:
    assert measure([text]).validity == 1.0


@pytest.mark.parametrize("text", ["\ufffd", "\x07", "\x85", "\ue000", "\U00100000", "\u0378", "\uffff"])
def test_broken_characters_are_not(text: str) -> None:
    assert measure([text + "あああ"]).validity == 0.75


def test_halves_of_a_surrogate_pair_are_not() -> None:
    assert measure([chr(0xD83D) + "ああ" + chr(0xDE00)]).validity == 0.5


def test_longer_texts_count_more_and_an_empty_one_as_a_broken_character() -> None:
    assert measure(["ああああああああ", "猫は日なたで眠る。"]).repetition == pytest.approx(4 / 11)
    assert measure(["", "はい。"]).validity == 0.75
    assert measure([]) == TextQuality(0.0, 1.0)


def test_documents_are_measured_by_their_beginnings(tokenizer: Tokenizer) -> None:
    def quality(*texts: str) -> TextQuality:
        return measure_documents(encode((Document(text=text) for text in texts), tokenizer), tokenizer)

    once = "吾輩は猫である。"
    assert quality(once).repetition == 0.0
    assert quality(once * 9).repetition > 0.8
    assert quality(*"一二三四五六七八九") == TextQuality(0.0, 1.0)
