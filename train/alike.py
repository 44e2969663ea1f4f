"""Texts that are found by what overlaps with them, however many they are."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from train.answers import pairs_of


class Alike:
    """Texts in an index of their pairs of characters.

    `text in alike` tells whether one of them overlaps with it by at least `least` (Dice's coefficient).
    """

    def __init__(self, texts: Iterable[str], least: float) -> None:
        """Index the texts."""
        self._least = least
        self._totals: list[int] = []
        self._index: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for number, text in enumerate(texts):
            pairs = pairs_of(text)
            self._totals.append(pairs.total())
            for pair, count in pairs.items():
                self._index[pair].append((number, count))

    def __contains__(self, text: str) -> bool:
        pairs, shared = pairs_of(text), Counter[int]()
        for pair, count in pairs.items():
            for number, other in self._index.get(pair, ()):
                shared[number] += min(count, other)
        total = pairs.total()
        return any(2 * s / (total + self._totals[number]) >= self._least for number, s in shared.items())
