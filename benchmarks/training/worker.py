"""One contender in a process of its own: reads seconds, a line each, and answers with tokens and seconds.

python -m benchmarks.training.worker NAME BATCH_SIZE LENGTH
"""

from __future__ import annotations

import json
import os
import sys
import time

from benchmarks.training.contenders import CONTENDERS

_WARM_UP_STEPS = 4


def main(name: str, batch_size: int, length: int) -> None:
    """Serve requests until standard input ends. What libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    steps = CONTENDERS[name](batch_size, length)
    for _ in range(_WARM_UP_STEPS):
        next(steps)
    print(json.dumps("ready"), file=answers)
    for line in sys.stdin:
        began, tokens = time.perf_counter(), 0
        while time.perf_counter() < began + float(line):
            tokens += next(steps)
        print(json.dumps([tokens, time.perf_counter() - began]), file=answers)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
