"""A known question as people write it: each function is one kind of other wording, the answer stays."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

_POLITE = (("ますか", "ますでしょうか"), ("ですか", "でしょうか"))
_HALF_WIDTH = {unicodedata.normalize("NFKC", chr(code)): chr(code) for code in range(0xFF66, 0xFF9E)}
_MARKS = {"\u3099": "ﾞ", "\u309a": "ﾟ"}


def _mark(question: str) -> str:
    return question[:-1] if question.endswith("？") else f"{question}？"


def _polite(question: str) -> str:
    for plain, polite in _POLITE:
        question = question.replace(plain, polite)
    return question


def _half_width(question: str) -> str:
    """Write kana half width, voiced ones as two characters."""
    parts = (_HALF_WIDTH.get(c) or _voiced(c) for c in question)
    return "".join(parts).translate(str.maketrans("0123456789", "０１２３４５６７８９"))


def _voiced(character: str) -> str:
    parts = unicodedata.normalize("NFD", character)
    if len(parts) == 2 and parts[0] in _HALF_WIDTH:
        return _HALF_WIDTH[parts[0]] + _MARKS[parts[1]]
    return character


WORDINGS: dict[str, Callable[[str], str]] = {
    "as it stands": str,
    "？ added or dropped": _mark,
    "NFD": lambda question: unicodedata.normalize("NFD", question),
    "half-width kana, full-width digits": _half_width,
    "blanks and line ends around": lambda question: f" \u3000{question}\r\n ",
    "ます → ますでしょうか": _polite,
    "すみません、": lambda question: f"すみません、{question}",
    "ちょっと教えてほしいんですけど、": lambda question: f"ちょっと教えてほしいんですけど、{question}",
    "はじめて利用するのですが、": lambda question: f"はじめて利用するのですが、{question}",
}
