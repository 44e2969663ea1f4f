"""How many tokens one engine step may decode, so that a step takes about as long as it should."""

from __future__ import annotations

# A step is what an arriving request waits for, and what its fixed cost is spread over: short while someone
# waits for a first token, longer while all that run are under way.
SHORT_STEP = 0.004  # seconds
LONG_STEP = 0.008
_MEMORY = 0.8  # weight of the past in the running mean


class Pace:
    """Learns what a token for every running row costs, and gives each step its number of tokens."""

    def __init__(self, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self._seconds_per_token: float | None = None

    def tokens(self, *, someone_waits: bool) -> int:
        """Return the tokens per row of the next step, 1 to `max_tokens`."""
        if self._seconds_per_token is None:
            return 1
        wanted = SHORT_STEP if someone_waits else LONG_STEP
        affordable = wanted / max(self._seconds_per_token, wanted / self._max_tokens)
        return max(1, int(affordable))

    def note(self, num_tokens: int, seconds: float) -> None:
        """Take what a step of so many tokens per row took."""
        latest = seconds / num_tokens
        known = latest if self._seconds_per_token is None else self._seconds_per_token
        self._seconds_per_token = _MEMORY * known + (1 - _MEMORY) * latest
