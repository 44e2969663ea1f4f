"""Records: the values of a JSON file and the rows of tables; each is a document, in all its wordings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from train.document import CorpusError, Document, is_blank
from train.readers.fields import Shape, shapes
from train.readers.turns import in_all_wordings, is_message, parse_turns, string
from train.tally import LeftOut, Tally

_RECORD = (
    '{"text": …}, {"question": …, "answer": …} or {"turns": [{"role": "user" or "assistant", "text": …}, …]}'
)
# Where an object may hold plain strings as its texts; under other names they may be anything.
_CONTAINERS = ("data", "texts", "documents", "examples", "records", "rows", "items")


def parse_record(record: Any, place: str, tally: Tally) -> list[Document]:
    """Read a text, a dialogue (in each of its wordings) or a pair of question and answer; nothing holds none.

    Raises CorpusError that names `place`.
    """
    try:
        return list(_documents(record, tally))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CorpusError(f"{place}: expected {_RECORD} ({error})") from error


def records_in(value: Any) -> Iterator[Any]:
    """Yield the records that an object holds in its one list, as in {"data": […]}; else the value itself."""
    records = _only_list(value) if isinstance(value, Mapping) else None
    yield from [value] if records is None else records


def _only_list(value: Mapping[str, Any]) -> list[Any] | None:
    known = shapes(tuple(value))
    if any(shape.kind != "turns" for shape in known):
        return None
    lists = [entry for entry in value.values() if isinstance(entry, list) and entry]
    nested = [entry for entry in lists if isinstance(entry[0], dict | list)]
    if not nested and not known:
        nested = [value[name] for name in _CONTAINERS if isinstance(value.get(name), list)]
    return nested[0] if len(nested) == 1 and nested[0] and not is_message(nested[0][0]) else None


def _documents(record: Any, tally: Tally) -> Iterator[Document]:
    if isinstance(record, str):
        record = {"text": record}
    if isinstance(record, list):
        record = {"messages": record}
    if record is None or not any(map(_has_content, record.values())):
        tally.leave_out(LeftOut.EMPTY_ROW)
        return
    found = shapes(tuple(record))
    if not found:
        raise ValueError(f"found {', '.join(map(repr, record))}")
    shape = next((s for s in found if any(_has_content(record[name]) for name in s.columns)), None)
    if shape is None:
        tally.leave_out(LeftOut.EMPTY_ROW)
    elif shape.kind == "text":
        yield Document(text=string(record[shape.fields[0]]))
    else:
        yield from _dialogues(record, shape, tally)


def _dialogues(record: Mapping[str, Any], shape: Shape, tally: Tally) -> Iterator[Document]:
    messages = _pair(record, shape) if shape.kind == "pair" else record[shape.fields[0]]
    if not isinstance(messages, list):
        raise ValueError(f"{shape.fields[0]} must be a list of messages, got {messages!r}")
    if shape.kind == "pair" and not messages:
        tally.leave_out(LeftOut.HALF_ROW)
    for worded in in_all_wordings(messages):
        turns = parse_turns(worded, tally)
        if turns:
            yield Document(turns=turns)


def _pair(record: Mapping[str, Any], shape: Shape) -> list[Any]:
    """Return question and answer as messages, none when either is missing.

    Either may be a list of messages itself, as where a prompt is a conversation so far.
    """
    asked = [record[name] for name in shape.fields if _has_content(record[name])]
    answer = record[shape.answer]
    if not asked or not _has_content(answer):
        return []
    system = record.get(shape.system)
    before = [{"role": "system", "content": system}] if _has_content(system) else []
    question = asked[0] if isinstance(asked[0], list) else _message("user", "\n".join(map(string, asked)))
    return [*before, *question, *(answer if isinstance(answer, list) else _message("assistant", answer))]


def _message(role: str, content: Any) -> list[Any]:
    return [{"role": role, "content": content}]


def _has_content(value: Any) -> bool:
    if isinstance(value, str):
        return not is_blank(value)
    return value is not None and value not in ([], {})
