"""Records: JSON Lines, and the rows of tables, each of which is one document."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from model.dialogue import Turn
from train.document import CorpusError, Document
from train.readers.lines import Lines

FIELDS = ("text", "messages", "turns")  # the first that a record has is read
_RECORD = '{"text": …} or {"turns": [{"role": "user" or "assistant", "text": …}, …]}'


def read_json_lines(lines: Lines) -> Iterator[Document]:
    """Yield a document a line; blank lines are skipped. Raises CorpusError that names the line."""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                record = json.loads(line)
            except ValueError as error:
                raise CorpusError(f"{lines.name}, line {number}: expected {_RECORD} ({error})") from error
            yield parse_record(record, f"{lines.name}, line {number}")


def parse_record(record: Mapping[str, Any], place: str) -> Document:
    """Read {"text"}, {"turns": [{"role", "text"}]} or {"messages": [{"role", "content"}]}.

    Raises CorpusError that names `place`.
    """
    try:
        if "text" in record:
            return Document(text=_string(record["text"]))
        if "messages" in record:
            return Document(turns=tuple(_turn(m["role"], m["content"]) for m in record["messages"]))
        return Document(turns=tuple(_turn(t["role"], t["text"]) for t in record["turns"]))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CorpusError(f"{place}: expected {_RECORD} ({error})") from error


def _turn(role: str, text: str) -> Turn:
    if role == "user":
        return Turn("user", _string(text))
    if role == "assistant":
        return Turn("assistant", _string(text))
    raise ValueError(f"role must be user or assistant, got {role!r}")


def _string(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"text must be a string that is not blank, got {value!r}")
    return value
