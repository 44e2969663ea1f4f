from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import pytest
import torch

from model.sampling import SamplingParams, sample

pytestmark = pytest.mark.unit


@dataclass
class Row:
    params: SamplingParams
    temperature: float = 1.0
    output_ids: list[int] = field(default_factory=list)


def draw(logits: list[float], row: Row, times: int = 2000) -> Counter[int]:
    """Sample once with each of `times` seeds."""
    rows = [replace(row, params=replace(row.params, seed=seed)) for seed in range(times)]
    return Counter(token for token, _ in sample(torch.tensor([logits] * times), rows, 1.0))


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


def test_a_seed_and_an_index_fix_a_draw() -> None:
    logits = torch.randn(1, 50)

    def ids(seed: int) -> list[int]:
        row = Row(SamplingParams(seed=seed, quantum_noise=True))
        for _ in range(20):
            row.output_ids.append(sample(logits.clone(), [row], 1.0)[0][0])
        return row.output_ids

    assert ids(7) == ids(7) != ids(8)
    assert len(set(ids(7))) > 5


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    params = [
        SamplingParams(top_k=k, seed=i, quantum_noise=i == 2, repetition_penalty=1 + 0.1 * i)
        for i, k in enumerate((0, 5, 5, 40))
    ]
    rows = [Row(p, output_ids=[1, 2, 3] * i) for i, p in enumerate(params)]
    logits = torch.randn(4, 100)
    together = sample(logits.clone(), rows, 1.0)
    assert together == [sample(logits[i : i + 1].clone(), [row], 1.0)[0] for i, row in enumerate(rows)]


def test_logprobs_are_those_of_the_network_itself() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    row = Row(SamplingParams(logprobs=2, quantum_noise=True, top_k=1), 0.1, [0, 0])
    expected = logits[0].log_softmax(-1).tolist()
    token, logprobs = sample(logits.clone(), [row], 1.0)[0]
    assert logprobs is not None
    assert logprobs.logprob == expected[token]
    assert logprobs.top == ((0, expected[0]), (1, expected[1]))
