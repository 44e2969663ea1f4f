"""How many tokens one engine step may decode, so that a step takes about as long as it should."""

from __future__ import annotations

from math import ceil, sqrt

# A step is what young requests wait for, and what its fixed cost is spread over. With y young requests and o
# others, a longer step costs the young y · seconds and saves the others o / seconds of that cost: the sum is
# least at a length that goes with the root of o / y.
SHORT_STEP = 0.006  # seconds
LONG_STEP = 0.016
_BALANCED_STEP = 0.0035  # with as many young as others
_MEMORY = 0.7  # weight of the past in the running mean


class Pace:
    """Learns what a token costs, its share of a step's fixed cost included, and gives each step a budget."""

    def __init__(self) -> None:
        self._seconds_per_token: float | None = None

    def budget(self, *, num_young: int, num_others: int) -> int | None:
        """Return how many tokens the next step may decode in all, None while nothing is known."""
        if not self._seconds_per_token:
            return None
        best = _BALANCED_STEP * sqrt(num_others / num_young) if num_young else LONG_STEP
        return ceil(min(max(best, SHORT_STEP), LONG_STEP) / self._seconds_per_token)

    def note(self, num_tokens: int, seconds: float) -> None:
        """Take what a step of so many tokens, over all sequences, took."""
        latest = seconds / max(num_tokens, 1)
        known = latest if self._seconds_per_token is None else self._seconds_per_token
        self._seconds_per_token = _MEMORY * known + (1 - _MEMORY) * latest
