"""Users' turns in other words, so that a handful of questions is known however it is put.

Each rule keeps the meaning: a preamble, another degree of politeness, with or without a question mark.
"""

from __future__ import annotations

import random
import re
from dataclasses import replace

from model.dialogue import Turn
from train.document import Document

_UNCHANGED = 0.15  # share of the variants that are the text as it stands
_PREAMBLE, _REPHRASED, _SHORTER, _KATAKANA = 0.4, 0.5, 0.1, 0.05
_MARKS = ("", "", "？", "？", "。")
_PREAMBLES = (
    "すみません、", "すみません。", "すみませんが、", "あの、", "あのう、", "えっと、", "ええと、",
    "ねえ、", "ねえねえ、", "ところで、", "ちなみに、", "あと、", "それと、", "質問です。", "一つ質問です。",
    "質問なんですが、", "お聞きしたいのですが、", "聞きたいんですけど、", "ちょっと聞きたいんですが、",
    "ちょっと聞いていいですか。", "ちょっといいですか。", "お尋ねします。", "お尋ねしたいのですが、",
    "伺いたいのですが、", "教えてください。", "教えてほしいのですが、", "恐れ入りますが、",
    "申し訳ありませんが、", "お忙しいところすみません、", "確認したいのですが、", "念のため聞きますが、",
    "気になったのですが、", "前から気になっていたのですが、", "初めまして。", "こんにちは。", "こんばんは。",
    "お世話になっております。", "お世話になります。", "もしもし、", "突然ですが、", "急ぎなんですが、",
    "よく分からないのですが、", "困っています。", "友達に聞かれたのですが、",
)  # fmt: skip
# The end of a question, and what may stand there instead.
_ENDINGS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("ますでしょうか", ("ますか", "ますかね")),
    ("ましたでしょうか", ("ましたか",)),
    ("どうすればいいですか", ("どうすればいい", "どうしたらいいですか", "どうすればよいでしょうか")),
    ("どうしたらいいですか", ("どうしたらいい", "どうすればいいですか", "どうすればよいでしょうか")),
    ("とは何ですか", ("って何ですか", "って何", "とは", "とは何", "とは何でしょうか", "について教えて")),
    ("って何ですか", ("とは何ですか", "って何", "とは何でしょうか", "について教えてください")),
    ("って何", ("とは何ですか", "って何ですか", "って何のこと", "って何なの", "について教えて")),
    ("は何ですか", ("は何でしょうか", "は何", "を教えてください", "を教えて", "が知りたいです")),
    ("はいつですか", ("はいつでしょうか", "はいつ", "がいつか教えてください")),
    ("はどこですか", ("はどこでしょうか", "はどこ", "がどこか知りたいです")),
    ("はいくらですか", ("はいくらでしょうか", "はいくら", "を教えてください", "が知りたいです")),
    ("ありますか", ("ありますでしょうか", "ある", "あるの", "あるか知りたいです", "ありますかね")),
    ("できますか", ("できますでしょうか", "できる", "できるの", "できるか知りたいです", "可能ですか")),
    ("いいですか", ("いいでしょうか", "いい", "よいですか", "よろしいですか", "大丈夫ですか")),
    ("必要ですか", ("必要でしょうか", "必要", "いりますか", "要りますか")),
    ("ましたか", ("ましたでしょうか", "ましたかね")),
    ("ませんか", ("ませんでしょうか",)),
    ("ますか", ("ますでしょうか", "ますかね")),
    ("ですか", ("でしょうか", "ですかね", "なの", "")),
    ("でしょうか", ("ですか", "でしょう")),
    ("てください", ("ていただけますか", "て", "てほしいです", "てもらえますか", "てくれますか", "てくれる")),
    ("教えて", ("教えてください", "教えてくれますか", "教えていただけますか", "知りたい", "知りたいです")),
    ("方法は", ("方法を教えてください", "方法は何ですか", "方法が知りたい", "やり方は")),
)  # fmt: skip
_TRAILING = re.compile(r"[\s。？！]+$")
_PARTICLE = re.compile(r"(?<=[一-鿿ァ-ヶー])(?:は|を|が|の)(?=[一-鿿ァ-ヶ])")
_TO_HIRAGANA = {code: code - 0x60 for code in range(ord("ァ"), ord("ヶ") + 1)}


def vary(document: Document, rng: random.Random) -> Document:
    """Return a dialogue with its users' turns in other words, a text as it is."""
    if rng.random() < _UNCHANGED:
        return document
    turns = (Turn("user", vary_question(t.text, rng)) if t.role == "user" else t for t in document.turns)
    return replace(document, turns=tuple(turns))


def vary_question(text: str, rng: random.Random) -> str:
    """Return one other wording of a question: what the rules draw, and never nothing."""
    core = _TRAILING.sub("", text)
    if not core:
        return text
    if rng.random() < _REPHRASED:
        core = _rephrase(core, rng)
    if rng.random() < _SHORTER:
        core = _PARTICLE.sub("", core, count=1)
    if rng.random() < _KATAKANA:
        core = core.translate(_TO_HIRAGANA)
    preamble = rng.choice(_PREAMBLES) if rng.random() < _PREAMBLE else ""
    return preamble + core + rng.choice(_MARKS)


def _rephrase(core: str, rng: random.Random) -> str:
    for ending, others in _ENDINGS:
        if core.endswith(ending) and len(core) > len(ending):
            return core.removesuffix(ending) + rng.choice(others)
    return core
