"""Corpora: files, folders, datasets of a hub and standard input, read as a stream of documents."""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from tempfile import _TemporaryFileWrapper

from train.document import CorpusError, Document, printable
from train.folder import DOUBTFUL_KINDS, kind, others_in, texts_in
from train.held_out import held_out_keys
from train.hub import hub_files, is_hub
from train.readers.json_values import is_json, read_json
from train.readers.lines import Lines
from train.readers.separated import has_known_header, hint, read_separated
from train.readers.tables import read_arrow, read_parquet
from train.readers.text import read_text
from train.tally import LeftOut, Tally

__all__ = ["BUILT_IN", "STANDARD_INPUT", "Corpus", "CorpusError", "Document", "files_of", "fingerprint"]
__all__ += ["read_documents", "split"]

BUILT_IN = Path(__file__).resolve().parent.parent / "corpus"
STANDARD_INPUT = "-"
_Reader = Callable[[Path, Tally], Iterator[Document]]


class Corpus:
    """The documents of files, folders of files, datasets of a hub, or `-` for standard input.

    Each iteration reads them anew, one at a time, so that a corpus may be larger than memory; `tally` counts
    what the last one took and left out. Raises CorpusError where something cannot be read or nothing is
    there.
    """

    def __init__(self, sources: Iterable[str]) -> None:
        self.sources = tuple(sources)
        self.tally = Tally()

    def __iter__(self) -> Iterator[Document]:
        self.tally = tally = Tally()
        for source in self.sources:
            yield from self._read(source, tally)
        if not tally.num_documents:
            why = f" (left out: {tally.left_out})" if tally.left_out else ""
            raise CorpusError(f"the corpus holds no text: {', '.join(self.sources)}{why}")

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

    def _read(self, source: str, tally: Tally) -> Iterator[Document]:
        if source == STANDARD_INPUT:
            lines = Lines(Path(self._standard_input.name), "standard input")
            yield from _counted(_guessed(lines, tally), lines.name, tally)
            return
        if not is_hub(source) and Path(source).is_dir():
            for name, why in others_in(Path(source)):
                tally.leave_out_file(name, why)
        for path in files_of([source]):
            _check_name(path)
            found = _reader(path)(path, tally)
            if kind(path) in DOUBTFUL_KINDS and not source.endswith(path.name):
                found = _if_readable(found, path, tally)
            yield from _counted(found, path.name, tally)

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
    """Return the files that are read for the sources; standard input has none. Raises CorpusError."""
    files: list[Path] = []
    for source in sources:
        if is_hub(source):
            files += hub_files(source)
        elif source != STANDARD_INPUT:
            files += texts_in(Path(source)) if Path(source).is_dir() else [Path(source)]
    return files


def split(documents: list[Document], validation_fraction: float) -> tuple[list[Document], list[Document]]:
    """Return training and validation documents; which is which depends on the content alone."""
    keys, sizes = [d.key for d in documents], [d.num_characters for d in documents]
    held_out = held_out_keys(keys, sizes, validation_fraction)
    return [d for d in documents if d.key not in held_out], [d for d in documents if d.key in held_out]


def fingerprint(documents: Iterable[Document]) -> str:
    """Return a SHA-256 over the documents in their order."""
    digest = hashlib.sha256()
    for document in documents:
        digest.update(document.digest)
    return digest.hexdigest()


def _counted(documents: Iterator[Document], name: str, tally: Tally) -> Iterator[Document]:
    """Yield the documents that hold anything, and count them and their file."""
    before = tally.num_documents
    for document in documents:
        if document.is_empty:
            tally.leave_out(LeftOut.EMPTY_ROW)
        else:
            tally.take(document)
            yield document
    if tally.num_documents > before:
        tally.num_files += 1
    else:
        tally.find_empty(name)


def _if_readable(documents: Iterator[Document], path: Path, tally: Tally) -> Iterator[Document]:
    """Yield the documents of a file that may be no text at all: then it is named and left out."""
    has_begun = False
    try:
        for document in documents:
            has_begun = True
            yield document
    except CorpusError as error:
        if has_begun:
            raise
        tally.leave_out_file(path.name, str(error).removeprefix(f"{path}, "))


def _check_name(path: Path) -> None:
    """Raise CorpusError for a name that no report, cache or error could hold as text."""
    try:
        str(path.resolve()).encode()
    except UnicodeEncodeError as error:
        raise CorpusError(f"{printable(path)}: the file's name or folder is not UTF-8: rename it") from error


def _reader(path: Path) -> _Reader:
    try:
        return _READERS[kind(path)]
    except KeyError:
        raise CorpusError(
            f"{path}: a corpus is a .txt or .jsonl file, a .json, .csv or .tsv file (all also .gz, .zst), a "
            ".parquet or .arrow file, a folder of them, hf://datasets/OWNER/NAME, or - for standard input"
        ) from None


def _guessed(lines: Lines, tally: Tally) -> Iterator[Document]:
    """Read a text without a name: as JSON, as a table with a header that tells its columns, or as prose."""
    if has_known_header(lines):
        return read_separated(lines, tally)
    first = next((line for line in lines if line.strip()), "")
    return read_json(lines, tally) if is_json(first) else read_text(lines)


def _is_record(lines: Lines) -> bool:
    """Tell whether a text's first line is an object of JSON, which nobody writes as prose."""
    first = next((line for line in lines if line.strip()), "").strip()
    return first.startswith('{"') and first.endswith("}")


def _read_text(path: Path, tally: Tally) -> Iterator[Document]:
    lines = Lines(path, str(path))
    advice = hint(lines) or ("looks like JSON: name it .jsonl" if _is_record(lines) else None)
    if advice:
        tally.note(f"{path.name} {advice}")
    return read_text(lines)


def _read_json(path: Path, tally: Tally) -> Iterator[Document]:
    return read_json(Lines(path, str(path)), tally)


def _read_separated(path: Path, tally: Tally) -> Iterator[Document]:
    return read_separated(Lines(path, str(path)), tally)


_READERS: dict[str, _Reader] = {
    ".txt": _read_text,
    ".jsonl": _read_json,
    ".json": _read_json,
    ".csv": _read_separated,
    ".tsv": _read_separated,
    ".parquet": read_parquet,
    ".arrow": read_arrow,
}
