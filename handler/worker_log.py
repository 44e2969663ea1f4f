"""The worker's log, which is its standard output."""

from __future__ import annotations

import logging

# What TorchServe writes in every step, by logger: two lines that its front end must read each time, and that
# push everything else out of the log files within minutes.
_EVERY_STEP = {
    "root": "Backend received inference at",
    "ts.metrics.caching_metric": "[METRICS]PredictionTime.",
}


def quiet() -> None:
    """Leave out the lines that come in every step."""
    for logger, beginning in _EVERY_STEP.items():
        logging.getLogger(logger).addFilter(_Without(beginning))


class _Without(logging.Filter):
    def __init__(self, beginning: str) -> None:
        super().__init__()
        self._beginning = beginning

    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith(self._beginning)
