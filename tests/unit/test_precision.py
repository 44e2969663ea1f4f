from __future__ import annotations

import pytest

from model.precision import AUTO, BFLOAT16, FLOAT32, INT8, PrecisionError, choose_precision

pytestmark = pytest.mark.unit
GOOD = {FLOAT32: 4.0, BFLOAT16: 4.001, INT8: 4.019}
BAD = {FLOAT32: 4.0, BFLOAT16: 4.03, INT8: 4.021}


@pytest.mark.parametrize(
    ("wanted", "native", "scores", "chosen"),
    [
        (AUTO, None, GOOD, FLOAT32),
        (AUTO, FLOAT32, GOOD, FLOAT32),
        (AUTO, BFLOAT16, GOOD, BFLOAT16),
        (AUTO, BFLOAT16, {}, BFLOAT16),
        (AUTO, BFLOAT16, BAD, FLOAT32),
        (FLOAT32, BFLOAT16, GOOD, FLOAT32),
        (BFLOAT16, FLOAT32, {}, BFLOAT16),
        (INT8, BFLOAT16, GOOD, INT8),
    ],
)
def test_what_is_served(wanted: str, native: str | None, scores: dict[str, float], chosen: str) -> None:
    assert choose_precision(wanted, native, scores) == chosen


@pytest.mark.parametrize(
    ("wanted", "native", "scores", "message"),
    [
        ("fp16", BFLOAT16, GOOD, "must be auto, float32, bfloat16 or int8"),
        (INT8, None, GOOD, "needs the native decoder"),
        (INT8, BFLOAT16, {}, "not measured"),
        (INT8, BFLOAT16, BAD, "loses 0.52%"),
        (BFLOAT16, BFLOAT16, BAD, "loses 0.75%"),
    ],
)
def test_what_is_refused(wanted: str, native: str | None, scores: dict[str, float], message: str) -> None:
    with pytest.raises(PrecisionError, match=message):
        choose_precision(wanted, native, scores)
