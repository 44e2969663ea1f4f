"""CSV and TSV: rows of questions and answers, or of texts, told by a header or by their number of columns."""

from __future__ import annotations

import codecs
import csv
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from train.document import CorpusError, Document, is_blank
from train.encodings import guess
from train.readers.fields import has_known_name, is_header
from train.readers.lines import Lines, open_bytes
from train.readers.records import parse_record
from train.tally import LeftOut, Tally

_DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons"}
_SIZE = 1 << 20
_LOOKED_AT = 200  # lines of a text
_NEARLY = 0.9

csv.field_size_limit((1 << 31) - 1)  # the usual one refuses a field of more than 128 KiB


def read_separated(lines: Lines, tally: Tally) -> Iterator[Document]:
    """Yield the documents of a CSV or TSV file. Raises CorpusError that names the line."""
    lines = Lines(lines.path, lines.name, _codec(lines))
    rows = _rows(lines, _delimiter(lines))
    first = next((row for row in rows if not all(map(is_blank, row[1]))), None)
    if first is None:
        return
    header = _header(lines, first[1], tally)
    for number, row in rows if is_header(first[1]) else chain([first], rows):
        if any(not is_blank(cell) for cell in row[len(header) :]):
            tally.leave_out(LeftOut.WIDE_ROW)
            continue
        cells = [*row, *[""] * (len(header) - len(row))]
        record = dict(zip(header, cells, strict=False))
        yield from parse_record(record, f"{lines.name}, line {number}", tally)


def has_known_header(lines: Lines) -> bool:
    """Tell whether a text of unknown kind begins as a table with two columns or more that can be read."""
    lines = Lines(lines.path, lines.name, _codec(lines))
    cells = _cells(_first(lines), _delimiter(lines))
    return len(cells) > 1 and is_header(cells)


def hint(lines: Iterable[str]) -> str | None:
    """Return what a text looks like whose lines have as many commas (or tabs) as their header has."""
    sample = [line for line in islice(lines, _LOOKED_AT) if line.strip()]
    for delimiter, name in _DELIMITERS.items():
        count = sample[0].count(delimiter) if sample else 0
        alike = sum(line.count(delimiter) == count for line in sample)
        if count and alike >= _NEARLY * len(sample) > 1 and is_header(_cells(sample[0], delimiter)):
            ending = ".tsv" if delimiter == "\t" else ".csv"
            return f"looks like a table with {name}: name it {ending} to learn its columns for what they are"
    return None


def _header(lines: Lines, first: Sequence[str], tally: Tally) -> list[str]:
    """Return the names of the columns; without a header two are a question and an answer, one is a text."""
    is_named = is_header(first)
    while is_blank(first[-1]) and (is_named or len(first) > 2):
        first = first[:-1]
    if is_named:
        return list(first)
    if len(first) > 2 or has_known_name(first):
        raise CorpusError(
            f"{lines.name}, line 1: expected a header with question and answer (or 質問 and 回答), or text; "
            f"found {', '.join(cell[:20] for cell in first)}"
        )
    if len(first) == 2:
        tally.note(f"{lines.name}: without a header, its columns are questions and answers")
    return ["question", "answer"] if len(first) == 2 else ["text"]


def _rows(lines: Lines, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with the number of the line that it ends in."""
    parts = (f"{part}\n" for line in lines for part in line.split("\r"))  # as old spreadsheets end lines
    reader = csv.reader(parts, delimiter=delimiter, strict=True, skipinitialspace=True)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        quotes = "a field that begins with a quotation mark ends with one, those inside are doubled"
        raise CorpusError(f"{lines.name}, line {reader.line_num}: {error} ({quotes})") from error


def _delimiter(lines: Lines) -> str:
    """Return what parts the fields: what makes a header of the first line, else what the name says."""
    first = _first(lines)
    usual = "\t" if ".tsv" in lines.path.name.lower() else ","
    candidates = (usual, *(delimiter for delimiter in _DELIMITERS if delimiter != usual))
    headed = [delimiter for delimiter in candidates if is_header(_cells(first, delimiter))]
    parting = [delimiter for delimiter in candidates if delimiter in first]
    return next(iter((*headed, *parting)), usual)


def _first(lines: Lines) -> str:
    return next((line for line in lines if line.strip()), "").strip("\r").partition("\r")[0]


def _cells(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])


def _codec(lines: Lines) -> str:
    """Return cp932 for what is no UTF-8, is Japanese by it, and has no byte that it does not know."""
    if _is_all(lines.path, "utf-8") or not _is_all(lines.path, "cp932"):
        return "utf-8"
    in_cp932 = Lines(lines.path, lines.name, "cp932")
    is_headed = is_header(_cells(_first(in_cp932), _delimiter(in_cp932)))
    return "cp932" if is_headed or guess(lines.beginning()) == "Shift_JIS" else "utf-8"


def _is_all(path: Path, codec: str) -> bool:
    """Tell whether a whole file decodes. What cannot be read at all is told when it is read for good."""
    decoder = codecs.getincrementaldecoder(codec)()
    try:
        with open_bytes(path) as file:
            while content := file.read(_SIZE):
                decoder.decode(content)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    except (OSError, EOFError, zlib.error):
        return True
    return True
