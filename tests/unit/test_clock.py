from __future__ import annotations

import time

import pytest

from train.clock import Clock

pytestmark = pytest.mark.unit


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which the test sets."""
    times = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: times[0])
    return times


def test_the_share_counts_from_the_first_step_to_the_end_of_the_minutes(now: list[float]) -> None:
    clock = Clock(minutes=2)
    now[0] += 20  # text and tokenizer
    assert clock.share() == 0
    now[0] += 50
    assert clock.share() == pytest.approx(0.5)
    now[0] += 50
    assert clock.share() == pytest.approx(1.0)
    assert clock.seconds == 120


def test_a_run_without_minutes_has_no_share(now: list[float]) -> None:
    clock = Clock(minutes=0)
    now[0] += 1e6
    assert clock.share() == 0


def test_scores_end_a_fifth_of_the_minutes_after_them_or_ten_seconds(now: list[float]) -> None:
    assert Clock(minutes=0).score_deadline() is None
    long, short = Clock(minutes=10), Clock(minutes=0.1)
    assert (long.score_deadline(), short.score_deadline()) == (1120, 1006 + 10 - 6)
    now[0] += 590
    assert long.score_deadline() == 1590 + 120
    now[0] += 50  # the last step is over
    assert (long.score_deadline(), short.score_deadline()) == (1000 + 600 + 120, 1000 + 6 + 10)


def test_a_break_between_two_sittings_does_not_count(now: list[float]) -> None:
    before = Clock(minutes=2)
    now[0] += 20
    before.share()
    now[0] += 40
    after = Clock(2, before.seconds, before.first_step)
    now[0] += 10
    assert after.share() == pytest.approx(0.5)
