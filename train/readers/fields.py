"""What a record's fields mean by their names, English or Japanese: a text, turns, or a question's answer."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

TEXTS = ("text", "テキスト", "本文", "文章", "文")
TURNS = ("messages", "turns", "conversations", "conversation", "dialogue")
_INSTRUCTIONS = ("instruction", "指示", "命令")
_CONTEXTS = ("input", "context", "入力", "文脈")  # what an instruction is about
_QUESTIONS = (
    *("question", "q", "prompt", "query", "user", "human", "input"),
    *("質問", "質問文", "問", "問い", "問題", "ユーザー", "ユーザ", "入力"),
)
_ANSWERS = (
    *("answer", "a", "response", "completion", "output", "reply", "assistant", "bot", "gpt"),
    *("回答", "回答文", "答", "答え", "解答", "返答", "返事", "応答", "出力", "アシスタント"),
)
_SYSTEMS = ("system", "system_prompt", "システム")
_NAMES = frozenset((*TEXTS, *TURNS, *_INSTRUCTIONS, *_CONTEXTS, *_QUESTIONS, *_ANSWERS, *_SYSTEMS))


@dataclass(frozen=True)
class Shape:
    """One way to read records: the fields of their text, turns or question, as the records spell them.

    Of a pair `fields` are the question's, the answer's is `answer`.
    """

    kind: Literal["text", "turns", "pair"]
    fields: tuple[str, ...]
    answer: str = ""
    system: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """Every field that is looked at."""
        return tuple(filter(None, (*self.fields, self.answer, self.system)))


@lru_cache(maxsize=256)
def shapes(names: tuple[str, ...]) -> tuple[Shape, ...]:
    """Return the ways to read records with these fields; the first that has content in a record counts.

    An instruction comes before a text: where a record has both, the text repeats it in a frame of its own.
    """
    known = {_plain(name): name for name in reversed(names)}
    instructions = _pairs(known, _INSTRUCTIONS, _CONTEXTS)
    texts = [Shape("text", (known[name],)) for name in TEXTS if name in known]
    turns = [Shape("turns", (known[name],)) for name in TURNS if name in known]
    return (*instructions, *texts, *turns, *_pairs(known, _QUESTIONS, ()))


def is_header(cells: Sequence[str]) -> bool:
    """Tell whether the cells of a first row are names that tell how to read the rows below."""
    return bool(shapes(tuple(cells)))


def has_known_name(cells: Sequence[str]) -> bool:
    """Tell whether any cell is the name of a field."""
    return any(_plain(cell) in _NAMES for cell in cells)


def _pairs(known: dict[str, str], questions: Sequence[str], more: Sequence[str]) -> list[Shape]:
    """Return the pair of the first question and the first answer, none when either is missing."""
    question = next((known[name] for name in questions if name in known), None)
    answer = next((known[name] for name in _ANSWERS if name in known), None)
    if question is None or answer is None:
        return []
    system = next((known[name] for name in _SYSTEMS if name in known), "")
    return [Shape("pair", (question, *(known[name] for name in more if name in known)), answer, system)]


def _plain(name: str) -> str:
    return unicodedata.normalize("NFKC", name).strip(" \t\ufeff:[]【】").casefold()
