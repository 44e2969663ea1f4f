"""JSON: a record a line, an array of records, or an object with the records in its one list."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from train.document import CorpusError, Document
from train.readers.lines import Lines
from train.readers.records import parse_record, records_in
from train.readers.turns import is_message
from train.tally import Tally

_BLANKS = re.compile(r"[ \t\r\n]*")
_LARGEST = 1 << 26  # characters of one value; what is larger is taken for broken


def read_json(lines: Lines, tally: Tally) -> Iterator[Document]:
    """Yield the documents of a file whatever its form, holding one record at a time where it has many.

    Raises CorpusError that names the line.
    """
    try:
        for number, record in _records(lines):
            yield from parse_record(record, f"{lines.name}, line {number}", tally)
    except _BrokenError as error:
        raise CorpusError(f"{lines.name}, {error}") from error


def is_json(first_line: str) -> bool:
    """Tell whether a text that begins with this line is meant as JSON, and not as prose in brackets."""
    return re.match(r'\s*(\{|\[\s*([\[{"\]]|$))', first_line) is not None


class _BrokenError(ValueError):
    """A line that is not JSON."""

    def __init__(self, number: int, error: object) -> None:
        super().__init__(f"line {number}: expected JSON ({error})")


def _records(lines: Lines) -> Iterator[tuple[int, Any]]:
    """Yield each record with the number of the line that it begins in."""
    first = next((line for line in lines if line.strip()), "")
    if first.lstrip().startswith("["):
        yield from _array_records(lines)
    elif _goes_on(first):
        stream = _Stream(lines)
        while stream.peek():
            number = stream.number
            yield from ((number, record) for record in records_in(stream.value()))
    else:
        yield from _line_records(lines)


def _line_records(lines: Iterable[str]) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise _BrokenError(number, error) from error
            yield from ((number, record) for record in records_in(value))


def _array_records(lines: Iterable[str]) -> Iterator[tuple[int, Any]]:
    """Yield the items of an array, or of several one after the other; an array of messages is one record."""
    stream = _Stream(lines)
    while stream.peek():
        number = stream.number
        items = stream.items()
        first: tuple[int, Any] = next(items, (number, []))  # an empty array is an empty row
        if is_message(first[1]):
            yield number, [first[1], *(item for _, item in items)]
        else:
            yield first
            yield from items


def _goes_on(line: str) -> bool:
    """Tell whether a JSON value begins in this line and ends in a later one."""
    try:
        json.loads(line)
    except json.JSONDecodeError as error:
        return error.pos >= len(line.rstrip()) > 0
    except RecursionError:
        return False
    return False


class _Stream:
    """The JSON values of lines, one at a time; only what is not read yet is held."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines, self._decoder = iter(lines), json.JSONDecoder()
        self._text, self._at = "", 0
        self.number = 1  # of the line that is read

    def peek(self) -> str:
        """Return the next character that is no blank, an empty string at the end."""
        while True:
            found = _BLANKS.match(self._text, self._at)
            self._go(found.end() if found else self._at)
            if self._at < len(self._text) or not self._fill(1):
                return self._text[self._at : self._at + 1]

    def value(self) -> Any:
        """Return the next value. Raises _BrokenError."""
        wanted = 1
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                if len(self._text) > _LARGEST or not self._fill(wanted):
                    raise _BrokenError(self._line_of(error), error) from error
                wanted *= 2
            else:
                self._go(end)
                return value

    def items(self) -> Iterator[tuple[int, Any]]:
        """Yield the items of an array, each with the number of its line. Raises _BrokenError."""
        self._take("[")
        while self.peek() != "]":
            yield self.number, self.value()
            if self.peek() != "]":
                self._take(",")
        self._take("]")

    def _take(self, character: str) -> None:
        if self.peek() != character:
            raise _BrokenError(self.number, f"{character!r} is missing")
        self._go(self._at + 1)

    def _go(self, end: int) -> None:
        self.number += self._text.count("\n", self._at, end)
        self._at = end

    def _fill(self, count: int) -> bool:
        """Add so many lines; tell whether there was any."""
        more = [f"{line}\n" for line in itertools.islice(self._lines, count)]
        self._text, self._at = self._text[self._at :] + "".join(more), 0
        return bool(more)

    def _line_of(self, error: Exception) -> int:
        position = getattr(error, "pos", self._at)
        return self.number + self._text.count("\n", self._at, position)
