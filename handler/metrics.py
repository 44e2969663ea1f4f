"""What a worker counts of its work: numbers and a clock, nothing of TorchServe.

The service feeds it from its one thread; `take` returns what is new since the last call, from any thread.
docs/metrics.md explains each metric.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from threading import Lock

# Observations kept for `take`; beyond that the oldest are lost rather than memory.
_MAX_OBSERVATIONS = 1 << 16


class Kind(Enum):
    """How values of a metric add up; the names are Prometheus's."""

    COUNTER = "counter"  # a sample is an increment
    GAUGE = "gauge"  # a sample replaces the last one
    HISTOGRAM = "histogram"  # a sample is one observation


@dataclass(frozen=True)
class Metric:
    """A name that Prometheus sees. `label` is the name of its own label, beside those of every metric."""

    name: str
    kind: Kind
    unit: str
    label: str | None = None


@dataclass(frozen=True)
class Sample:
    """A value for a metric and its label."""

    metric: Metric
    value: float
    label: str | None = None


REQUESTS = Metric("neuroq_requests_total", Kind.COUNTER, "requests", "outcome")
PROMPT_TOKENS = Metric("neuroq_prompt_tokens_total", Kind.COUNTER, "tokens")
REUSED_TOKENS = Metric("neuroq_prompt_tokens_reused_total", Kind.COUNTER, "tokens")
GENERATED_TOKENS = Metric("neuroq_generated_tokens_total", Kind.COUNTER, "tokens")
STEPS = Metric("neuroq_steps_total", Kind.COUNTER, "steps")
STEP_SEQUENCES = Metric("neuroq_step_sequences_total", Kind.COUNTER, "sequences")
FIRST_TOKEN = Metric("neuroq_time_to_first_token_seconds", Kind.HISTOGRAM, "seconds")
# Milliseconds: TorchServe's buckets are fixed, from 0.005 to 10, and a token takes far less than 5 ms.
OUTPUT_TOKEN = Metric("neuroq_time_per_output_token_milliseconds", Kind.HISTOGRAM, "milliseconds")
RUNNING = Metric("neuroq_requests_running", Kind.GAUGE, "requests", "worker")
WAITING = Metric("neuroq_requests_waiting", Kind.GAUGE, "requests", "worker")
SLOTS = Metric("neuroq_cache_slots", Kind.GAUGE, "slots", "worker")
SLOTS_USED = Metric("neuroq_cache_slots_used", Kind.GAUGE, "slots", "worker")
BATCH_SIZE = Metric("neuroq_batch_size_max", Kind.GAUGE, "sequences", "worker")
SPEED = Metric("neuroq_generated_tokens_per_second", Kind.GAUGE, "tokens", "worker")
SESSIONS = Metric("neuroq_sessions", Kind.GAUGE, "sessions")
METRICS = (
    REQUESTS, PROMPT_TOKENS, REUSED_TOKENS, GENERATED_TOKENS, STEPS, STEP_SEQUENCES,
    FIRST_TOKEN, OUTPUT_TOKEN, RUNNING, WAITING, SLOTS, SLOTS_USED, BATCH_SIZE, SPEED, SESSIONS,
)  # fmt: skip
# How a request may end: finish reasons, and error codes. Each is there from the start, at 0, so that rate()
# sees the first one, too.
OUTCOMES = (
    "stop", "length", "cleared", "cancelled", "invalid_request", "unknown_action", "prompt_too_long",
    "train_disabled", "train_busy", "not_found", "model_not_found", "overloaded", "deadline_exceeded",
    "sessions_unavailable", "internal",
)  # fmt: skip


class Metrics:
    """The numbers since the last `take`, and how things stand."""

    def __init__(
        self, num_slots: int, count_sessions: Callable[[], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`count_sessions` is called by `take`, in its thread."""
        self._count_sessions, self._clock, self._lock = count_sessions, clock, Lock()
        self._counts: Counter[tuple[Metric, str | None]] = Counter(dict.fromkeys(_all_counters(), 0))
        self._observations: deque[Sample] = deque(maxlen=_MAX_OBSERVATIONS)
        self._gauges: dict[Metric, float] = {SLOTS: num_slots}
        self._told: dict[Metric, float] = {}
        self._batch_size = 0
        self._taken_at = clock()
        self.load(running=0, waiting=0)

    def arrived(self) -> Timeline:
        """A request came."""
        return Timeline(self._clock, self._observe)

    def ended(self, outcome: str) -> None:
        """A request is over, with one of OUTCOMES."""
        self._count(REQUESTS, 1, outcome)

    def prompt(self, num_tokens: int, num_reused: int) -> None:
        """A prompt was taken in; `num_reused` of its tokens were in the cache already."""
        self._count(PROMPT_TOKENS, num_tokens)
        self._count(REUSED_TOKENS, num_reused)

    def step(self, num_sequences: int, num_tokens: int) -> None:
        """The engine decoded so many tokens for so many sequences together; for none is no step."""
        if not num_sequences:
            return
        with self._lock:
            self._counts[STEPS, None] += 1
            self._counts[STEP_SEQUENCES, None] += num_sequences
            self._counts[GENERATED_TOKENS, None] += num_tokens
            self._batch_size = max(self._batch_size, num_sequences)

    def load(self, *, running: int, waiting: int) -> None:
        """How busy the worker is now; what runs holds a slot."""
        with self._lock:
            self._gauges |= {RUNNING: running, WAITING: waiting, SLOTS_USED: running}

    def take(self) -> list[Sample]:
        """Return increments, observations and changed gauges since the last call; the first tells all."""
        num_sessions = self._count_sessions()  # before anything is taken: it may fail
        with self._lock:
            now = self._clock()
            counts, self._counts = self._counts, Counter()
            observations, self._observations = self._observations, deque(maxlen=_MAX_OBSERVATIONS)
            speed = counts[GENERATED_TOKENS, None] / max(now - self._taken_at, 1e-9)
            self._gauges |= {BATCH_SIZE: self._batch_size, SPEED: round(speed, 1), SESSIONS: num_sessions}
            gauges = self._gauges.copy()
            changed = [Sample(m, v) for m, v in gauges.items() if self._told.get(m) != v]
            self._told, self._batch_size, self._taken_at = gauges, 0, now
        return [*(Sample(m, n, label) for (m, label), n in counts.items()), *observations, *changed]

    def _count(self, metric: Metric, increment: int, label: str | None = None) -> None:
        with self._lock:
            self._counts[metric, label] += increment

    def _observe(self, metric: Metric, value: float) -> None:
        with self._lock:
            self._observations.append(Sample(metric, value))


class Timeline:
    """When a request arrived and when its tokens came."""

    def __init__(self, clock: Callable[[], float], observe: Callable[[Metric, float], None]) -> None:
        self._clock, self._observe = clock, observe
        self._arrived_at = clock()
        self._first_at: float | None = None
        self._last_at = 0.0
        self._num_later = 0  # tokens after the step that brought the first

    def tokens(self, count: int) -> None:
        """A step brought so many tokens."""
        if not count:
            return
        self._last_at = self._clock()
        if self._first_at is None:
            self._first_at = self._last_at
            self._observe(FIRST_TOKEN, self._first_at - self._arrived_at)
        else:
            self._num_later += count

    def end(self) -> None:
        """No more tokens will come."""
        if self._first_at is not None and self._num_later:
            seconds = self._last_at - self._first_at
            self._observe(OUTPUT_TOKEN, 1000 * seconds / self._num_later)


def _all_counters() -> list[tuple[Metric, str | None]]:
    plain: list[tuple[Metric, str | None]] = [
        (metric, None) for metric in METRICS if metric.kind is Kind.COUNTER and metric.label is None
    ]
    return plain + [(REQUESTS, outcome) for outcome in OUTCOMES]
