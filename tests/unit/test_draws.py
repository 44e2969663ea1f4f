from __future__ import annotations

import numpy as np
import pytest

from model import draws

pytestmark = pytest.mark.unit
SEEDS = (0, 1, 7, 2**63 - 1)


def test_uniforms_are_even_and_independent_of_each_other() -> None:
    values = np.array([[draws.uniform(seed, index) for index in range(2000)] for seed in SEEDS])
    assert 0 <= values.min() < values.max() < 1
    assert np.histogram(values, bins=10)[0] == pytest.approx(len(SEEDS) * 200, rel=0.15)
    assert np.abs(np.corrcoef(values) - np.eye(len(SEEDS))).max() < 0.08


def test_normals_have_mean_zero_and_deviation_one() -> None:
    values = np.concatenate([draws.normals(seed, 3, 5000) for seed in SEEDS])
    assert values.dtype == np.float32
    assert values.mean() == pytest.approx(0, abs=0.03)
    assert values.std() == pytest.approx(1, abs=0.03)
    assert not np.array_equal(draws.normals(1, 0, 8), draws.normals(1, 1, 8))


def test_the_first_values_of_a_draw_do_not_depend_on_how_many_are_asked_for() -> None:
    assert np.array_equal(draws.normals(5, 2, 1000)[:10], draws.normals(5, 2, 10))


def test_the_numbers_never_change() -> None:
    """Texts that users keep by their seed rest on these."""
    assert draws.uniform(1, 0) == 0.36818951565166946
    assert draws.normals(1, 0, 2).tolist() == pytest.approx([2.301480770111084, 0.33429136872291565])
