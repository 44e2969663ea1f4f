from __future__ import annotations

import pytest

from handler.pace import LONG_STEP, SHORT_STEP, Pace

pytestmark = pytest.mark.unit


def settled(fixed: float, cost: float, tokens: int = 1) -> Pace:
    """A pace that has seen steps that take fixed + cost · tokens seconds, from a step of so many on."""
    pace = Pace()
    for _ in range(200):
        pace.note(tokens, fixed + cost * tokens)
        tokens = pace.budget(num_young=0, num_others=8) or 1
    return pace


@pytest.mark.parametrize("tokens", [1, 10_000])
@pytest.mark.parametrize(("fixed", "cost"), [(0.0, 1e-5), (0.003, 4e-5), (0.01, 1e-4), (0.001, 1e-3)])
def test_a_step_takes_about_as_long_as_it_should(fixed: float, cost: float, tokens: int) -> None:
    budget = settled(fixed, cost, tokens).budget(num_young=0, num_others=8)
    assert budget is not None
    assert fixed + cost * budget == pytest.approx(LONG_STEP, rel=0.1)


def test_a_step_is_the_shorter_the_more_young_requests_it_keeps_waiting() -> None:
    pace = settled(0.0, 1e-4)
    budgets = [pace.budget(num_young=young, num_others=32 - young) or 0 for young in range(33)]
    assert budgets == sorted(budgets, reverse=True)
    assert budgets[0] == pytest.approx(LONG_STEP / 1e-4, rel=0.1)
    assert budgets[32] == pytest.approx(SHORT_STEP / 1e-4, rel=0.1)
    assert budgets[3] > budgets[6] > budgets[32]


def test_nothing_is_bounded_before_anything_is_known() -> None:
    assert Pace().budget(num_young=1, num_others=0) is None


def test_one_slow_step_is_forgotten() -> None:
    pace = settled(0.0, 1e-4)
    pace.note(1, 5.0)
    for _ in range(60):
        tokens = pace.budget(num_young=0, num_others=8)
        assert tokens is not None
        pace.note(tokens, tokens * 1e-4)
    assert pace.budget(num_young=0, num_others=8) == pytest.approx(LONG_STEP / 1e-4, rel=0.1)
