"""How many tokens one engine step may decode, so that a step takes about as long as it should."""

from __future__ import annotations

from math import ceil

# A step is what an arriving request waits for, and what its fixed cost is spread over: shorter while some
# requests may be short ones, longer while all are long under way.
SHORT_STEP = 0.010  # seconds
LONG_STEP = 0.016
_MEMORY = 0.7  # weight of the past in the running mean


class Pace:
    """Learns what a token costs, its share of a step's fixed cost included, and gives each step a budget."""

    def __init__(self) -> None:
        self._seconds_per_token: float | None = None

    def budget(self, *, is_short: bool) -> int | None:
        """Return how many tokens the next step may decode in all, None while nothing is known."""
        if not self._seconds_per_token:
            return None
        return ceil((SHORT_STEP if is_short else LONG_STEP) / self._seconds_per_token)

    def note(self, num_tokens: int, seconds: float) -> None:
        """Take what a step of so many tokens, over all sequences, took."""
        latest = seconds / max(num_tokens, 1)
        known = latest if self._seconds_per_token is None else self._seconds_per_token
        self._seconds_per_token = _MEMORY * known + (1 - _MEMORY) * latest
