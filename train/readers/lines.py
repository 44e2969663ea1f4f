"""The lines of a text file, plain or compressed, decoded one at a time."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from train.document import CorpusError
from train.encodings import SAMPLE, explain
from train.readers.arrow import pyarrow

COMPRESSIONS = (".gz", ".zst")


@dataclass(frozen=True)
class Lines:
    """The lines of a file without their line breaks, read anew by each iteration.

    `name` is what errors call the file; a `codec` other than UTF-8 must have the same line breaks. Iterating
    raises CorpusError with the line that cannot be decoded.
    """

    path: Path
    name: str
    codec: str = "utf-8"

    def __iter__(self) -> Iterator[str]:
        position = 0
        try:
            with open_bytes(self.path) as file:
                for number, raw in enumerate(file, start=1):
                    yield self._decode(raw, number, position)
                    position += len(raw)
        except (OSError, EOFError, zlib.error) as error:
            reason = getattr(error, "strerror", None) or error
            raise CorpusError(f"{self.name} cannot be read: {reason}") from error

    def _decode(self, raw: bytes, number: int, position: int) -> str:
        try:
            line = raw.decode("utf-8-sig" if number == 1 and self.codec == "utf-8" else self.codec)
        except UnicodeDecodeError as error:
            what = explain(raw[error.start], position + error.start, self.beginning())
            raise CorpusError(f"{self.name}, line {number}: {what}") from error
        if line.endswith("\n"):
            line = line[:-1].removesuffix("\r")
        return line

    def beginning(self) -> bytes:
        """Return the file's first bytes, enough to guess their encoding."""
        with open_bytes(self.path) as file:
            return file.read(SAMPLE)


def open_bytes(path: Path) -> BinaryIO:
    """Open a file that may be compressed."""
    if path.suffix.lower() == ".gz":
        return cast(BinaryIO, gzip.open(path))
    if path.suffix.lower() == ".zst":
        return cast(BinaryIO, io.BufferedReader(pyarrow(path).input_stream(str(path), compression="zstd")))
    return path.open("rb")
