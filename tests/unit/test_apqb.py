from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model import apqb

pytestmark = pytest.mark.unit
_ANGLES = st.floats(-20, 20, allow_nan=False)


@given(_ANGLES)
def test_correlation_and_temperature_lie_on_the_unit_circle(theta: float) -> None:
    angle = torch.tensor(theta, dtype=torch.float64)
    assert apqb.correlation(angle) ** 2 + apqb.temperature(angle) ** 2 == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("theta", "r", "t"), [(0, 1, 0), (math.pi / 4, 0, 1), (math.pi / 2, -1, 0)])
def test_fixed_points(theta: float, r: float, t: float) -> None:
    angle = torch.tensor(theta, dtype=torch.float64)
    assert apqb.correlation(angle).item() == pytest.approx(r, abs=1e-12)
    assert apqb.temperature(angle).item() == pytest.approx(t, abs=1e-12)


@given(_ANGLES)
def test_measurement_follows_from_correlation(theta: float) -> None:
    angle = torch.tensor(theta, dtype=torch.float64)
    p_zero = 1 - apqb.probability_one(angle)
    assert (p_zero - apqb.probability_one(angle)).item() == pytest.approx(
        apqb.correlation(angle).item(), abs=1e-12
    )


@given(st.floats(-1, 1))
def test_angle_is_the_inverse_of_correlation(r: float) -> None:
    value = torch.tensor(r, dtype=torch.float64)
    assert apqb.correlation(apqb.angle(value)).item() == pytest.approx(r, abs=1e-9)


@pytest.mark.parametrize(
    ("k", "expected"), [(1, math.sin(2 * 0.3)), (2, math.cos(4 * 0.3)), (3, math.sin(6 * 0.3))]
)
def test_k_body_correlation(k: int, expected: float) -> None:
    assert apqb.k_body_correlation(torch.tensor(0.3), k).item() == pytest.approx(expected, abs=1e-6)


def test_k_body_correlation_needs_a_body() -> None:
    with pytest.raises(ValueError, match="k must be at least 1"):
        apqb.k_body_correlation(torch.tensor(0.3), 0)
