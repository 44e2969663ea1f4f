"""Write the dialogues: python -m train.remembering FILE [--seed N] [--count N]."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from train.remembering.frames import read_frames
from train.remembering.writer import Writer

SEED, COUNT = 7, 1900  # of corpus/conversation/remembering.jsonl


def write(path: Path, seed: int, count: int) -> int:
    """Write different dialogues to the file and return the number of turns."""
    writer = Writer(read_frames(), seed)
    lines: dict[str, int] = {}
    while len(lines) < count:
        turns = writer.dialogue()
        lines[json.dumps({"turns": turns}, ensure_ascii=False)] = len(turns)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return sum(lines.values())


def main() -> None:
    """Read the command line and write the file."""
    parser = argparse.ArgumentParser(description="write dialogues that need remembering")
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--count", type=int, default=COUNT)
    arguments = parser.parse_args()
    turns = write(arguments.output, arguments.seed, arguments.count)
    print(f"{arguments.count} dialogues, {turns} turns")


if __name__ == "__main__":
    main()
