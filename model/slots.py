"""Cache slots: which are free, and whose keys and values they still hold."""

from __future__ import annotations

from collections.abc import Sequence

# A shorter common beginning (a begin symbol, a marker, a greeting) is not worth losing what another
# conversation could reuse.
_WORTH_REUSING = 8


class Slots:
    """Free slots in the order in which they became free, each with the ids whose keys and values it holds."""

    def __init__(self, num_slots: int) -> None:
        self._free: dict[int, list[int]] = {slot: [] for slot in range(num_slots)}

    def __len__(self) -> int:
        """Return how many slots are free."""
        return len(self._free)

    def take(self, prompt_ids: Sequence[int]) -> tuple[int, int]:
        """Return a free slot and how many of the prompt's ids it holds already, all but the last at most.

        Takes the slot with the longest beginning in common, or the one that was free for longest.
        """
        shared = {slot: _common(held, prompt_ids) for slot, held in self._free.items()}
        slot = max(shared, key=lambda each: (shared[each] >= _WORTH_REUSING) * shared[each])
        del self._free[slot]
        return slot, min(shared[slot], len(prompt_ids) - 1)

    def give_back(self, slot: int, held_ids: list[int]) -> None:
        """Free a slot that holds the keys and values of `held_ids`."""
        self._free[slot] = held_ids


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """Return the length of the common beginning."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))
