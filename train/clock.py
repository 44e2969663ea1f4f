"""The wall time of a run, over all its sittings."""

from __future__ import annotations

import time

_SCORES_SHARE, _SCORES_LEAST = 0.2, 10.0  # of the minutes, seconds


class Clock:
    """Counts seconds, and tells which share of a run's minutes is over.

    `seconds` are those of earlier sittings; the minutes count from the run's beginning, reading the text
    included, and the share from the first training step.
    """

    def __init__(self, minutes: float, seconds: float = 0.0, first_step: float | None = None) -> None:
        self._began = time.monotonic() - seconds
        self._limit = 60 * minutes
        self.first_step = first_step  # seconds, None before the first step

    @property
    def seconds(self) -> float:
        """Seconds since the run's beginning, without the breaks between its sittings."""
        return time.monotonic() - self._began

    def share(self) -> float:
        """Return how much of the minutes is over, 0 for a run that has no bound, 1 or more at the end."""
        if self.first_step is None:
            self.first_step = self.seconds
        if not self._limit:
            return 0.0
        return (self.seconds - self.first_step) / max(self._limit - self.first_step, 1e-9)

    def score_deadline(self) -> float | None:
        """Return until when (time.monotonic) text may be scored, None for a run that has no bound.

        Scores may take a fifth of the minutes, or ten seconds where that is more; those after the last step
        come on top of the minutes.
        """
        if not self._limit:
            return None
        most = max(_SCORES_SHARE * self._limit, _SCORES_LEAST)
        return min(time.monotonic(), self._began + self._limit) + most
