from __future__ import annotations

import pytest

from handler.pace import LONG_STEP, SHORT_STEP, Pace

pytestmark = pytest.mark.unit
MAX_TOKENS = 32


def settled(seconds_per_token: float) -> Pace:
    pace = Pace(MAX_TOKENS)
    for _ in range(50):
        tokens = pace.tokens(someone_waits=False)
        pace.note(tokens, tokens * seconds_per_token)
    return pace


@pytest.mark.parametrize("cost", [0.0, 1e-6, 1e-4, 1e-3, 0.1])
def test_a_step_takes_about_as_long_as_it_should(cost: float) -> None:
    pace = settled(cost)
    for waits, wanted in ((False, LONG_STEP), (True, SHORT_STEP)):
        tokens = pace.tokens(someone_waits=waits)
        assert tokens in (1, MAX_TOKENS) or tokens * cost == pytest.approx(wanted, rel=0.5)
        assert tokens == MAX_TOKENS or tokens * cost <= max(wanted * 1.01, cost)


def test_the_first_step_is_careful_and_one_slow_step_is_forgotten() -> None:
    assert Pace(MAX_TOKENS).tokens(someone_waits=False) == 1
    pace = settled(1e-3)
    before = pace.tokens(someone_waits=False)
    pace.note(before, 5.0)
    for _ in range(60):
        tokens = pace.tokens(someone_waits=False)
        pace.note(tokens, tokens * 1e-3)
    assert pace.tokens(someone_waits=False) >= before - 1
