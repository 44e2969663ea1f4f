"""What all offline commands share, `python -m train…`: where they stand, their signals, their output."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from typing import TextIO, cast

from train import interruption

# Set by ./neuroq, which starts its commands from NeuroQ's folder: where the user stands.
CALLED_FROM = "NEUROQ_CALLED_FROM"


def begin() -> None:
    """Set this process up, before anything else is imported that takes its time."""
    interruption.end_in_one_line()
    with suppress(KeyError, OSError):
        os.chdir(os.environ[CALLED_FROM])
    if isinstance(sys.stdout, TextIOWrapper):  # a terminal or pipe that has no Japanese gets it escaped
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.stderr = cast(TextIO, _Lasting(sys.stderr))


class _Lasting:
    """Standard error that may go away: a closed terminal, or `| tee` that Ctrl-C ended, costs no run."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._let_go()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._let_go()

    def _let_go(self) -> None:
        """Write to nobody from now on; what was not written yet, too."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)
