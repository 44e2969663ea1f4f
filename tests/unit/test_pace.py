from __future__ import annotations

import pytest

from handler.pace import LONG_STEP, SHORT_STEP, Pace

pytestmark = pytest.mark.unit


def settled(fixed: float, cost: float, tokens: int = 1) -> Pace:
    """A pace that has seen steps that take fixed + cost · tokens seconds, from a step of so many on."""
    pace = Pace()
    for _ in range(200):
        pace.note(tokens, fixed + cost * tokens)
        tokens = pace.budget(is_short=False) or 1
    return pace


@pytest.mark.parametrize("tokens", [1, 10_000])
@pytest.mark.parametrize(("fixed", "cost"), [(0.0, 1e-5), (0.003, 4e-5), (0.01, 1e-4), (0.001, 1e-3)])
def test_a_step_takes_about_as_long_as_it_should(fixed: float, cost: float, tokens: int) -> None:
    budget = settled(fixed, cost, tokens).budget(is_short=False)
    assert budget is not None
    assert fixed + cost * budget == pytest.approx(LONG_STEP, rel=0.1)


def test_a_step_is_shorter_while_is_short() -> None:
    pace = settled(0.0, 1e-4)
    assert pace.budget(is_short=True) == pytest.approx(SHORT_STEP / 1e-4, rel=0.1)


def test_nothing_is_bounded_before_anything_is_known() -> None:
    assert Pace().budget(is_short=True) is None


def test_one_slow_step_is_forgotten() -> None:
    pace = settled(0.0, 1e-4)
    pace.note(1, 5.0)
    for _ in range(60):
        tokens = pace.budget(is_short=False)
        assert tokens is not None
        pace.note(tokens, tokens * 1e-4)
    assert pace.budget(is_short=False) == pytest.approx(LONG_STEP / 1e-4, rel=0.1)
