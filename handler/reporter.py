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

INTERVAL = 1.0  # seconds
LABELS = ("model_name", "model_version")
_logger = logging.getLogger(__name__)


class Reporter(Thread):
    """Takes what was counted and reports it, on a thread of its own.

    A thread, because TorchServe calls the handler only while there are requests: the last one's numbers
    would stay behind. `worker` tells the gauges of several workers apart; it must come from a small set.
    """

    def __init__(self, metrics: Metrics, cache: Any, labels: Mapping[str, str], worker: int) -> None:
        super().__init__(name="metrics", daemon=True)
        self._metrics = metrics
        self._known = {metric: _known(cache, metric) for metric in METRICS}
        self._labels = [labels[name] for name in LABELS]
        self._worker = str(worker)
        self._stopped = Event()

    def run(self) -> None:
        """Report now and then until `stop`; a failure is logged and the next report tried."""
        while True:
            try:
                self.report(self._metrics.take())
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
            own = self._worker if sample.metric.label == "worker" else sample.label
            values = [*self._labels, own] if sample.metric.label else self._labels
            self._known[sample.metric].add_or_update(sample.value, values)


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
