"""The questions that judge the shipped model are nobody's training text, and every verdict is somebody's."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from benchmarks.chat.__main__ import Exchange, Verdict, page, read_judgements, read_questions
from benchmarks.faq.__main__ import FOLDER, Faq
from model.text import normalize
from train.corpus import BUILT_IN, read_documents

pytestmark = pytest.mark.unit
_MARKS = re.compile(r"[\s、。！？!?「」…〜]")


def bare(text: str) -> str:
    return _MARKS.sub("", normalize(text))


def test_no_question_stands_in_the_corpus() -> None:
    """Short follow-ups such as もう少し詳しく may: what is asked about stands before them."""
    known = {bare(turn.text) for document in read_documents([str(BUILT_IN)]) for turn in document.turns}
    asked = [turns for _, turns in read_questions()]
    assert len(asked) >= 120
    assert not [turns[-1] for turns in asked if len(turns) == 1 and bare(turns[-1]) in known]
    assert not [turns for turns in asked if len(turns) > 1 and all(bare(turn) in known for turn in turns)]
    for path in FOLDER.glob("*.csv"):
        faq = Faq.read(path)
        questions = [*faq.pairs, *faq.paraphrases, *faq.foreign]
        assert not [question.text for question in questions if bare(question.text) in known]


def test_every_kind_is_asked_about() -> None:
    counts = Counter(kind for kind, _ in read_questions())
    assert set(counts) == {"smalltalk", "neuroq", "advice", "knowledge", "creative", "memory", "unknown"}
    assert min(counts.values()) >= 10


def test_a_verdict_belongs_to_a_question() -> None:
    asked = {turns for _, turns in read_questions()}
    judged = read_judgements()
    assert {turns for turns, _ in judged} <= asked
    assert not [verdict for verdict in judged.values() if verdict.is_right and not verdict.is_well_formed]


def test_what_nobody_judged_counts_as_wrong() -> None:
    right, wrong = Verdict(True, True), Verdict(True, False)
    exchanges = [Exchange("a", ("一",), ("二|三",), each) for each in (right, wrong, Verdict())]
    lines = page(exchanges)
    assert "| all | 3 | 2 (67%) | 1 (33%) |" in lines
    assert [line for line in lines if line.startswith("| 一 |")] == [
        "| 一 | 二\\|三 | ✓ | ✓ |", "| 一 | 二\\|三 | ✓ | ✗ |", "| 一 | 二\\|三 | ? | ? |"
    ]  # fmt: skip


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.csv")), ids=lambda path: path.stem)
def test_a_faq_is_whole(path: object) -> None:
    faq = Faq.read(path)  # type: ignore[arg-type]
    answers = {pair.wanted for pair in faq.pairs}
    assert 50 <= len(faq.pairs) == len(answers) <= 200
    assert len(faq.paraphrases) == len(faq.foreign) == 20
    assert {question.wanted for question in faq.paraphrases} <= answers
