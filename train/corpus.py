"""Corpora: text files, JSON Lines, tables and standard input, read as a stream of documents."""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from tempfile import _TemporaryFileWrapper

import numpy as np

from train.document import CorpusError, Document
from train.readers.lines import COMPRESSIONS, Lines
from train.readers.records import read_json_lines
from train.readers.tables import is_saved_dataset, read_arrow, read_parquet
from train.readers.text import read_text

__all__ = ["BUILT_IN", "STANDARD_INPUT", "Corpus", "CorpusError", "Document", "files_of", "fingerprint"]
__all__ += ["highest_held_out", "read_documents", "split"]

BUILT_IN = Path(__file__).resolve().parent.parent / "corpus"
STANDARD_INPUT = "-"
_READERS: dict[str, Callable[[Path], Iterator[Document]]] = {
    ".txt": lambda path: read_text(Lines(path, str(path))),
    ".jsonl": lambda path: read_json_lines(Lines(path, str(path))),
    ".parquet": read_parquet,
    ".arrow": read_arrow,
}
_TRAIN, _OTHERS = (re.compile(rf"(?:{names})(?![a-z])") for names in ("train", "validation|valid|dev|test"))


class Corpus:
    """The documents of files, folders of files, or `-` for standard input.

    Each iteration reads them anew, one at a time, so that a corpus may be larger than memory. Raises
    CorpusError where something cannot be read or nothing is there.
    """

    def __init__(self, sources: Iterable[str]) -> None:
        self.sources = tuple(sources)

    def __iter__(self) -> Iterator[Document]:
        is_empty = True
        for source in self.sources:
            for document in self._read(source):
                is_empty = False
                yield document
        if is_empty:
            raise CorpusError(f"the corpus holds no text: {', '.join(self.sources)}")

    @property
    def stamp(self) -> list[list[str | int]] | None:
        """Path, size and time of change of each file: while they stay, so does the text.

        None where nobody can tell: standard input, or a file that is away.
        """
        if STANDARD_INPUT in self.sources:
            return None
        try:
            states = [(path, path.stat()) for path in files_of(self.sources)]
        except OSError:
            return None
        return [[str(path.resolve()), state.st_size, state.st_mtime_ns] for path, state in states]

    def _read(self, source: str) -> Iterator[Document]:
        if source == STANDARD_INPUT:
            lines = Lines(Path(self._standard_input.name), "standard input")
            first = next((line for line in lines if line.strip()), "")
            yield from read_json_lines(lines) if first.lstrip().startswith("{") else read_text(lines)
            return
        for path in files_of([source]):
            yield from _reader(path)(path)

    @cached_property
    def _standard_input(self) -> _TemporaryFileWrapper[bytes]:
        """A copy, since standard input can be read only once; it goes with the corpus."""
        copy = tempfile.NamedTemporaryFile(prefix="neuroq-")  # noqa: SIM115
        shutil.copyfileobj(sys.stdin.buffer, copy)
        copy.flush()
        return copy


def read_documents(sources: Iterable[str]) -> list[Document]:
    """Read the whole of a corpus that fits into memory. Raises CorpusError."""
    return list(Corpus(sources))


def files_of(sources: Iterable[str]) -> list[Path]:
    """Return the files that are read for the sources; standard input has none."""
    files: list[Path] = []
    for path in (Path(source) for source in sources if source != STANDARD_INPUT):
        files += _files_in(path) if path.is_dir() else [path]
    return files


def highest_held_out(keys: np.ndarray, validation_fraction: float) -> int:
    """Return the highest key (Document.key) that is held out for validation, -1 when none is.

    Which documents are held out depends on their content alone, and equal documents stay together.
    """
    count = round(validation_fraction * len(keys))
    if validation_fraction > 0 and len(keys) > 1:
        count = min(max(count, 1), len(keys) - 1)
    different = np.unique(keys)
    return int(different[count - 1]) if 0 < count < len(different) else -1


def split(documents: list[Document], validation_fraction: float) -> tuple[list[Document], list[Document]]:
    """Return training and validation documents; which is which depends on the content alone."""
    keys = np.array([document.key for document in documents], np.uint64)
    highest = highest_held_out(keys, validation_fraction)
    return [d for d in documents if d.key > highest], [d for d in documents if d.key <= highest]


def fingerprint(documents: Iterable[Document]) -> str:
    """Return a SHA-256 over the documents in their order."""
    digest = hashlib.sha256()
    for document in documents:
        digest.update(document.digest)
    return digest.hexdigest()


def _files_in(folder: Path) -> list[Path]:
    """Return a folder's files; of a dataset that is parted into train and others, those of train."""
    paths = sorted(path for path in folder.rglob("*") if _kind(path) in _READERS and path.is_file())
    paths = [path for path in paths if path.suffix != ".arrow" or is_saved_dataset(path)]
    if not paths:
        raise CorpusError(f"{folder}: there is no .txt, .jsonl, .parquet or .arrow file in this folder")
    names = {path: path.relative_to(folder).parts for path in paths}
    if not any(_TRAIN.match(part) for parts in names.values() for part in parts):
        return paths
    return [path for path in paths if not any(_OTHERS.match(part) for part in names[path])]


def _reader(path: Path) -> Callable[[Path], Iterator[Document]]:
    try:
        return _READERS[_kind(path)]
    except KeyError:
        raise CorpusError(
            f"{path}: a corpus is a .txt or .jsonl file (also .gz, .zst), a .parquet or .arrow file, "
            "a folder of them, or - for standard input"
        ) from None


def _kind(path: Path) -> str:
    """Return a file's suffix, without that of the compression of a text."""
    if path.suffix not in COMPRESSIONS:
        return path.suffix
    inner = Path(path.stem).suffix
    return inner if inner in (".txt", ".jsonl") else path.suffix
