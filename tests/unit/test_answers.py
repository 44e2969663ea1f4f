"""How replies are judged: exact, fitting, refused."""

from __future__ import annotations

import pytest

from model.dialogue import Turn
from model.tokenizer import Tokenizer
from tests.conftest import tiny_model
from train.answers import Answer, AnswerScore, Question, ask, overlap, questions_of
from train.document import Document

pytestmark = pytest.mark.unit
WANTED = "開館時間は9時から18時までです。月曜日は休みです。"


def judged(reply: str, wanted: str | None = WANTED) -> Answer:
    return Answer(Question((), "何時まで開いていますか", wanted), reply)


@pytest.mark.parametrize(
    ("reply", "exact", "fitting", "refused"),
    [
        (WANTED, True, True, False),
        (f" {WANTED}\n", True, True, False),
        (WANTED.replace("18", "１８"), True, True, False),
        ("開館時間は9時から18時です。月曜日はお休みです。", False, True, False),
        (WANTED.replace("18", "17"), False, False, False),
        ("開館時間は9時から18時まで9時から18時", False, False, False),
        ("すみません、それは分かりません。", False, False, True),
        ("", False, False, False),
    ],
)
def test_a_reply_to_a_known_question(reply: str, exact: bool, fitting: bool, refused: bool) -> None:
    answer = judged(reply)
    assert (answer.is_exact, answer.is_fitting, answer.is_refused) == (exact, fitting, refused)


def test_what_is_wanted_is_no_refusal() -> None:
    wanted = "会員番号は電話ではお答えできません。"
    assert not judged(wanted, wanted).is_refused


def test_a_foreign_question_wants_a_refusal() -> None:
    answers = [judged("その本のことは分かりません。", None), judged(WANTED, None), judged("a\ufffd")]
    score = AnswerScore.of(answers)
    assert (score.known, score.exact, score.foreign, score.foreign_refused, score.broken) == (1, 0, 2, 1, 1)
    assert str(score) == ("0 of 1 exact, 0 fitting, 0 refused; 1 of 2 foreign questions refused; 1 broken")


def test_overlap_counts_pairs_of_characters() -> None:
    assert overlap("本を返す", "本を、返す。") == 1.0
    assert overlap("本を返す", "本を借りる") == pytest.approx(2 * 1 / (3 + 4))
    assert overlap("あ", "い") == 0.0


def test_each_reply_of_a_dialogue_is_asked_with_its_history() -> None:
    turns = tuple(Turn(role, text) for role, text in zip(("user", "assistant") * 2, "一二三四", strict=True))  # type: ignore[arg-type]
    first, second, *rest = questions_of([Document(turns=turns), Document(text="五")])
    assert not rest
    assert (first.history, first.text, first.wanted) == ((), "一", "二")
    assert (second.history, second.text, second.wanted) == (turns[:2], "三", "四")


def test_every_question_gets_its_own_reply(tokenizer: Tokenizer) -> None:
    network = tiny_model(tokenizer.vocab_size).freeze()
    questions = [Question((), f"{number}番は何ですか", None) for number in range(100)]
    answers = ask(network, tokenizer, questions)
    assert [answer.question for answer in answers] == questions
    assert [answer.reply for answer in ask(network, tokenizer, questions[3:5])] == [
        answers[3].reply, answers[4].reply
    ]  # fmt: skip


def test_a_question_that_is_too_long_has_no_reply(tokenizer: Tokenizer) -> None:
    network = tiny_model(tokenizer.vocab_size).freeze()
    answers = ask(network, tokenizer, [Question((), "長い" * 500, "はい")])
    assert answers[0].reply == ""
