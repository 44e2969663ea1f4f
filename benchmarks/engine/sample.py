"""One measured stretch of generation, and the clocks it is measured with."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.engine.workload import Generate

# A process that waited for a processor for longer than this share of a sample was disturbed by others.
MAX_WAITED = 0.03


@dataclass(frozen=True)
class Sample:
    """Tokens made by one process, with its wall time, its processor time and its wait for a processor.

    All in seconds; `waited` is None where the kernel does not tell.
    """

    tokens: int
    wall: float
    cpu: float
    waited: float | None

    @property
    def is_clean(self) -> bool:
        """Whether the process had a processor for itself."""
        return self.waited is not None and self.waited < MAX_WAITED * self.wall


def measure(generate: Generate, new_tokens: int, seconds: float) -> Sample:
    """Generate once, and again and again until so many seconds are over."""
    tokens, waited = 0, _waited()
    wall, cpu = time.perf_counter(), time.process_time()
    while not tokens or time.perf_counter() - wall < seconds:
        tokens += generate(new_tokens)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    now = _waited()
    return Sample(tokens, wall, cpu, None if waited is None or now is None else now - waited)


def _waited() -> float | None:
    """Seconds that this process's threads have waited for a processor (Linux: schedstat's second field)."""
    try:
        stats = [path.read_text() for path in Path("/proc/self/task").glob("*/schedstat")]
        return sum(int(text.split()[1]) for text in stats) * 1e-9 if stats else None
    except OSError:
        return None
