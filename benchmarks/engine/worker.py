"""One engine in a process of its own: reads requests as lines of JSON, answers with samples or an error.

    python -m benchmarks.engine.worker NAME

A request is {"batch_size", "new_tokens", "seconds"}. The first of a batch size loads the engine for it;
the first of each kind runs twice unmeasured.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from dataclasses import asdict
from typing import Any

from benchmarks.engine.candidates import CANDIDATES, Candidate
from benchmarks.engine.sample import Sample, measure
from benchmarks.engine.workload import Generate


class Worker:
    """An engine, loaded once for each batch size that was asked for."""

    def __init__(self, candidate: Candidate) -> None:
        self._candidate = candidate
        self._engines: dict[int, Generate] = {}
        self._warm: set[tuple[int, int]] = set()

    def sample(self, batch_size: int, new_tokens: int, seconds: float) -> Sample:
        """Measure one stretch."""
        if batch_size not in self._engines:
            self._engines[batch_size] = self._candidate.open(batch_size)
        generate = self._engines[batch_size]
        if (batch_size, new_tokens) not in self._warm:
            self._warm_up(generate, batch_size, new_tokens)
            self._warm.add((batch_size, new_tokens))
        return measure(generate, new_tokens, seconds)

    @staticmethod
    def _warm_up(generate: Generate, batch_size: int, new_tokens: int) -> None:
        for _ in range(2):
            made = generate(new_tokens)
            if made != batch_size * new_tokens:
                raise RuntimeError(f"made {made} tokens, {batch_size * new_tokens} were asked for")


def main(name: str) -> None:
    """Serve requests until standard input ends. What libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    worker = Worker(CANDIDATES[name])
    for line in sys.stdin:
        print(json.dumps(_answer(worker, json.loads(line))), file=answers)


def _answer(worker: Worker, request: dict[str, Any]) -> dict[str, Any]:
    """An engine that fails, however it does, is reported and left out; the others go on."""
    try:
        return asdict(worker.sample(**request))
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    main(sys.argv[1])
