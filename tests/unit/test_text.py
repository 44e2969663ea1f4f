"""One text, one form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.text import normalize

pytestmark = pytest.mark.unit
_TRICKY = st.sampled_from(
    "ｶﾞﾊﾟ゙゛ﾞかハ?!？！１Ａ（～〜\u3099\u309a\u3000\u00a0\r\n\u2028\x85\x00\u200b\u200d\ufeff神"
)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("ｺﾝﾋﾟｭｰﾀｰって何?", "コンピューターって何？"),
        ("か\u3099くせい", "がくせい"),
        ("ハﾞナナ", "バナナ"),
        ("１２３ＡＢＣ％（税込）", "123ABC%（税込）"),
        ("本当?! はい。ok?", "本当？！ はい。ok?"),
        ("print('Hi!')", "print('Hi!')"),
        ("a\r\nb\u2028c\x0bd", "a\nb\nc\nd"),
        ("\u3000一\u00a0二\u2003三", " 一 二 三"),
        ("\ufeffゼロ\u200b幅\x07", "ゼロ幅"),
        ("10時～12時", "10時〜12時"),
        ("👨\u200d👩\u200d👧と𠮷", "👨\u200d👩\u200d👧と𠮷"),
        ("葛\U000e0100城", "葛城"),
        ("  def f():\n\treturn 1", "  def f():\n\treturn 1"),
    ],
)
def test_the_one_form(text: str, form: str) -> None:
    assert normalize(text) == form


@given(st.lists(_TRICKY | st.text(max_size=4), max_size=12).map("".join))
def test_a_form_is_a_fixed_point(text: str) -> None:
    assert normalize(normalize(text)) == normalize(text)
