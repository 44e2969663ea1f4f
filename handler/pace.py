"""How many tokens one engine step may decode, so that a step takes about as long as it should."""

from __future__ import annotations

# A step is what an arriving request waits for, and what its fixed cost is spread over: short while someone
# waits for a first token, longer while all that run are under way.
SHORT_STEP = 0.004  # seconds
LONG_STEP = 0.008
MAX_TOKENS = 32  # more would delay the pieces of a stream without making a step noticeably cheaper
_MEMORY = 0.8  # weight of the past in the running mean


class Pace:
    """Learns what a token for every running row costs, and gives each step its number of tokens."""

    def __init__(self) -> None:
        self._seconds_per_token = 0.0

    def tokens(self, *, someone_waits: bool) -> int:
        """Return the tokens per row of the next step, 1 to MAX_TOKENS."""
        if self._seconds_per_token <= 0:
            return 1
        wanted = SHORT_STEP if someone_waits else LONG_STEP
        return max(1, min(MAX_TOKENS, int(wanted / self._seconds_per_token)))

    def note(self, num_tokens: int, seconds: float) -> None:
        """Take what a step of so many tokens per row took."""
        latest = seconds / num_tokens
        known = self._seconds_per_token
        self._seconds_per_token = _MEMORY * known + (1 - _MEMORY) * latest if known > 0 else latest
