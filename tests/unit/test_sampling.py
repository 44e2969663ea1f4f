from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
import torch

from model.sampling import SamplingParams, sample

pytestmark = pytest.mark.unit


@dataclass
class Row:
    params: SamplingParams
    temperature: float = 1.0
    output_ids: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.params.seed)


def draw(logits: list[float], row: Row, times: int = 2000) -> Counter[int]:
    return Counter(sample(torch.tensor([logits]), [row], 1.0)[0] for _ in range(times))


def test_temperature_zero_is_greedy_and_without_noise() -> None:
    row = Row(SamplingParams(quantum_noise=True), temperature=0.0)
    assert draw([1.0, 1.01, 0.0], row, 50) == {1: 50}


def test_frequencies_follow_the_softmax() -> None:
    counts = draw([2.0, 1.0, 0.0], Row(SamplingParams(top_k=0, top_p=1.0)), 6000)
    expected = torch.softmax(torch.tensor([2.0, 1.0, 0.0]), 0)
    for token in range(3):
        assert counts[token] / 6000 == pytest.approx(expected[token].item(), abs=0.03)


def test_top_k_keeps_the_most_likely() -> None:
    assert set(draw([3.0, 2.9, 2.8, 2.7], Row(SamplingParams(top_k=2, top_p=1.0)))) == {0, 1}


def test_top_p_keeps_the_nucleus_and_never_nothing() -> None:
    assert set(draw([3.0, 3.0, 0.0], Row(SamplingParams(top_p=0.6)))) == {0, 1}
    assert set(draw([3.0, 2.0, 0.0], Row(SamplingParams(top_p=1e-9)))) == {0}


def test_repetition_penalty_looks_at_the_last_twenty_tokens() -> None:
    greedy = SamplingParams(repetition_penalty=2.0)
    assert draw([1.0, 0.9], Row(greedy, 0.0, [0]), 1) == {1: 1}
    assert draw([-1.0, -1.5] + [-9.0] * 4, Row(greedy, 0.0, [0]), 1) == {
        1: 1
    }  # negative logits are multiplied
    assert draw([1.0, 0.9] + [-9.0] * 4, Row(greedy, 0.0, [0] + [5] * 20), 1) == {0: 1}


def test_a_seed_fixes_the_draws() -> None:
    one, two = (Row(SamplingParams(seed=7, quantum_noise=True)) for _ in range(2))
    logits = torch.randn(1, 50)
    assert [sample(logits.clone(), [one], 1.0) for _ in range(20)] == [
        sample(logits.clone(), [two], 1.0) for _ in range(20)
    ]


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    params = [SamplingParams(top_k=k, seed=i, quantum_noise=i == 2) for i, k in enumerate((0, 5, 5, 40))]
    logits = torch.randn(4, 100)
    together = sample(logits.clone(), [Row(p) for p in params], 1.0)
    alone = [sample(logits[i : i + 1].clone(), [Row(p)], 1.0)[0] for i, p in enumerate(params)]
    assert together == alone
