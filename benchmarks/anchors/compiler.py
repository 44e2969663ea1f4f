"""Small C programs beside the benchmarks: compiled when their source is newer than what was compiled."""

from __future__ import annotations

import subprocess
from pathlib import Path

from benchmarks.anchors import BUILD


def compiled(source: Path, *options: str, suffix: str = "") -> Path:
    """Return the program that cc makes of a source. Raises OSError or CalledProcessError where it cannot."""
    program = BUILD / f"{source.stem}{suffix}"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        BUILD.mkdir(exist_ok=True)
        subprocess.run(["cc", "-O3", "-o", str(program), str(source), *options], check=True)
    return program
