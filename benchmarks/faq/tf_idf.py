"""The baseline: the answer of the known question with the most alike pairs of characters (TF-IDF)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from model.text import normalize


class TfIdf:
    """Cosine of TF-IDF vectors over character bigrams; smoothed idf as scikit-learn has it."""

    def __init__(self, questions: Sequence[str]) -> None:
        self._counts = [_bigrams(question) for question in questions]
        documents = Counter(pair for counts in self._counts for pair in counts)
        self._idf = {pair: math.log((1 + len(questions)) / (1 + n)) + 1 for pair, n in documents.items()}
        self._vectors = [self._vector(counts) for counts in self._counts]

    def nearest(self, question: str) -> int:
        """Return the number of the known question that is most alike."""
        vector = self._vector(_bigrams(question))
        return max(range(len(self._vectors)), key=lambda number: _dot(vector, self._vectors[number]))

    def _vector(self, counts: Counter[str]) -> dict[str, float]:
        weights = {pair: n * self._idf[pair] for pair, n in counts.items() if pair in self._idf}
        norm = math.sqrt(sum(weight * weight for weight in weights.values())) or 1.0
        return {pair: weight / norm for pair, weight in weights.items()}


def _bigrams(text: str) -> Counter[str]:
    text = normalize(text).strip()
    return Counter(text[i : i + 2] for i in range(len(text) - 1))


def _dot(one: dict[str, float], two: dict[str, float]) -> float:
    return sum(weight * two.get(pair, 0.0) for pair, weight in one.items())
