"""The driver's end of a worker: a process with one engine, alive for the whole run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.engine.sample import Sample

_ROOT = Path(__file__).resolve().parents[2]
# One thread each: what every library at hand takes its number of threads from.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}


class EngineError(RuntimeError):
    """The engine cannot run here, or failed."""


class EngineProcess:
    """A worker. It computes only while `sample` waits for it."""

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self._log = log
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.engine.worker", name],
                cwd=_ROOT,
                env={**os.environ, **_ENVIRONMENT},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def sample(self, batch_size: int, new_tokens: int, seconds: float) -> Sample:
        """Measure one stretch. Raises EngineError."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"batch_size": batch_size, "new_tokens": new_tokens, "seconds": seconds}
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
            answer = json.loads(self._process.stdout.readline())
        except (OSError, ValueError) as error:
            raise EngineError(f"the process ended; see {self._log}") from error
        if "error" in answer:
            raise EngineError(answer["error"])
        return Sample(**answer)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
