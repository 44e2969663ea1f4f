"""The way of the metrics to Prometheus: through TorchServe's metrics API, about once a second.

Each sample becomes a line of the worker's standard output, which the front end reads and shows on its
metrics port. So the worker's Python log level must stay at INFO; the front end's log levels do not matter.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from threading import Event, Thread
from typing import Any

from ts.metrics.metric_cache_errors import MetricsCacheKeyError
from ts.metrics.metric_type_enum import MetricTypes

from handler.metrics import METRICS, Metric, Metrics, Sample
from handler.worker_place import WorkerPlace

INTERVAL = 1.0  # seconds
LABELS = ("model_name", "model_version")
_logger = logging.getLogger(__name__)


class Reporter(Thread):
    """Takes what was counted and reports it, on a thread of its own.

    A thread, because TorchServe calls the handler only while there are requests: the last one's numbers
    would stay behind. The place's number tells the gauges of several workers apart; those of a worker that
    was killed would stay for ever, so the others set them to 0.
    """

    def __init__(self, metrics: Metrics, cache: Any, labels: Mapping[str, str], place: WorkerPlace) -> None:
        super().__init__(name="metrics", daemon=True)
        self._metrics = metrics
        self._known = {metric: _known(cache, metric) for metric in METRICS}
        self._labels = [labels[name] for name in LABELS]
        self._place = place
        self._vacant: set[int] = set()
        self._stopped = Event()

    def run(self) -> None:
        """Report now and then until `stop`; a failure is logged and the next report tried."""
        while True:
            try:
                self.report(self._metrics.take())
                self.clear_vacant()
            except Exception:
                _logger.exception("metrics could not be reported")
            if self._stopped.wait(INTERVAL):
                return

    def stop(self) -> None:
        """Let the thread end."""
        self._stopped.set()

    def report(self, samples: Iterable[Sample]) -> None:
        """Hand samples to TorchServe."""
        for sample in samples:
            own = self._place.number if sample.metric.label == "worker" else sample.label
            self._emit(sample.metric, sample.value, str(own))

    def clear_vacant(self) -> None:
        """Set the gauges of workers that are gone to 0, once."""
        vacant = self._place.vacant()
        for number in vacant - self._vacant:
            for metric in METRICS:
                if metric.label == "worker":
                    self._emit(metric, 0, str(number))
        self._vacant = vacant

    def _emit(self, metric: Metric, value: float, own_label: str) -> None:
        values = [*self._labels, own_label] if metric.label else self._labels
        self._known[metric].add_or_update(value, values)


def _known(cache: Any, metric: Metric) -> Any:
    """The metric as the metrics file defines it, else defined here (the front end must then detect it)."""
    kind = MetricTypes(metric.kind.value)
    try:
        return cache.get_metric(metric.name, kind)
    except MetricsCacheKeyError:
        return cache.add_metric_to_cache(metric.name, metric.unit, label_names(metric), kind)


def label_names(metric: Metric) -> list[str]:
    """The labels that a metric has, in order; TorchServe adds Hostname."""
    return [*LABELS, metric.label] if metric.label else list(LABELS)
