"""Figures of two versions in, verdicts out."""

from __future__ import annotations

import math

import pytest

from client.checks import (
    Answers,
    Score,
    Timing,
    check_answers,
    check_latency,
    check_quality,
    check_sanity,
    is_sane,
    table,
)

pytestmark = pytest.mark.unit


def score(bits_per_char: float, tokens: int = 500) -> Score:
    return Score(bits_per_char, characters=1000, tokens=tokens)


@pytest.mark.parametrize(
    ("candidate", "has_passed"),
    [(3.0, True), (4.0, True), (4.03, True), (4.05, False), (9.0, False), (math.nan, False)],
)
def test_quality(candidate: float, has_passed: bool) -> None:
    assert check_quality(score(4.0), score(candidate)).has_passed is has_passed


@pytest.mark.parametrize(
    ("fitting", "refused", "has_passed"), [(9, 5, True), (8, 4, True), (7, 9, False), (9, 3, False)]
)
def test_answers(fitting: int, refused: int, has_passed: bool) -> None:
    check = check_answers(Answers(10, 8, 9, 4), Answers(10, fitting, 9, refused))
    assert check.has_passed is has_passed
    assert check.current == "8 of 10 fitting, 4 of 9 refused"
    assert str(Answers(0, 0, 9, 4)) == "4 of 9 refused"


@pytest.mark.parametrize(
    ("ratios", "tokens", "has_passed"),
    [
        ([1.0, 1.1, 0.9], 500, True),
        ([1.4, 1.4, 1.4], 500, True),
        ([1.6, 1.6, 1.6], 500, False),
        ([1.0, 1.0, 9.0], 500, True),  # one hiccup
        ([1.0, 1.0, 1.0], 800, False),  # as fast a token, but more tokens for the same text
        ([1.6, 1.6, 1.6], 400, True),
    ],
)
def test_latency(ratios: list[float], tokens: int, has_passed: bool) -> None:
    timings = [Timing(10, 0.1, 0.1 * ratio) for ratio in ratios]
    assert check_latency(timings, score(4.0), score(4.0, tokens)).has_passed is has_passed


def test_a_pair_is_judged_by_its_own_moment() -> None:
    timings = [Timing(10, slow, slow * 1.2) for slow in (0.1, 0.5, 0.1, 0.9)]
    check = check_latency(timings, score(4.0), score(4.0))
    assert check.has_passed
    assert "1.20 x" in check.limit


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("こんにちは。", True),
        ("はい", True),
        ("Pythonは言語です。", True),
        ("", False),
        ("hello", False),
        ("ああああああ", False),
        ("。。。。", False),
        ("こんに\ufffdちは", False),
    ],
)
def test_a_sane_reply(reply: str, expected: bool) -> None:
    assert is_sane(reply) is expected


GOOD, EMPTY, BROKEN = "こんにちは", "", "こん\ufffdにちは"


@pytest.mark.parametrize(
    ("current", "candidate", "has_passed"),
    [
        ([GOOD] * 4, [GOOD] * 4, True),
        ([GOOD] * 4, [GOOD] * 3 + [EMPTY], True),
        ([GOOD] * 4, [GOOD] * 2 + [EMPTY] * 2, False),
        ([GOOD] * 4, [GOOD] * 3 + [BROKEN], False),
        ([GOOD] * 4, [GOOD] * 3 + [None], False),
        ([EMPTY] * 4, [EMPTY] * 3 + [None], False),
        # what a weak current version cannot do, a better one need not do at once
        ([GOOD] + [BROKEN] * 3, [GOOD] * 2 + [BROKEN] * 2, True),
        ([GOOD] + [BROKEN] * 3, [BROKEN] * 4, False),
    ],
)
def test_sanity(current: list[str | None], candidate: list[str | None], has_passed: bool) -> None:
    assert check_sanity(current, candidate).has_passed is has_passed


def test_the_table_says_which_check_failed() -> None:
    shown = table([check_quality(score(4.0), score(5.0)), check_sanity([GOOD], [GOOD])], "1.0", "2.0")
    lines = shown.splitlines()
    assert "current 1.0" in lines[0]
    assert "4.000 bits/char" in lines[1]
    assert "5.000 bits/char" in lines[1]
    assert "REFUSED" in lines[1]
    assert "ok" in lines[2]
