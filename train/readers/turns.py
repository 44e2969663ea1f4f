"""Turns out of messages as people's tools write them: OpenAI's, ShareGPT's and our own.

What a model of two roles cannot learn is left out and counted: what the system says, exchanges in which tools
were called, and what an assistant says before anybody asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from model.dialogue import Turn
from train.document import is_blank
from train.tally import LeftOut, Tally

_ROLE_FIELDS = ("role", "from", "speaker")
_TEXT_FIELDS = ("content", "text", "value")
_CALL_FIELDS = ("tool_calls", "function_call")
_WORDINGS_FIELD = "wordings"
_Role = Literal["user", "assistant", "system", "tool"]
_ROLES: dict[str, _Role] = {
    **dict.fromkeys(("user", "human", "prompter", "ユーザー"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model", "アシスタント"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("tool", "function", "observation", "tool_response"), "tool"),
    **dict.fromkeys(("function_call", "tool_call"), "tool"),
}


@dataclass
class _Exchange:
    """What the user says in a row, and what comes back."""

    questions: list[str] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)
    is_answered: bool = False
    uses_tools: bool = False

    @property
    def turns(self) -> Iterator[Turn]:
        yield Turn("user", "\n".join(self.questions))
        if self.is_answered:
            yield Turn("assistant", "\n".join(self.replies))


def parse_turns(messages: Sequence[Any], tally: Tally) -> tuple[Turn, ...]:
    """Return the turns of a dialogue, users' and assistants' in alternation; none when nothing is left.

    Consecutive messages of one role become one turn of several lines, as in serving. Raises ValueError,
    TypeError or KeyError for what is no message.
    """
    exchanges = [exchange for exchange in _exchanges(messages, tally) if _is_kept(exchange, tally)]
    return tuple(turn for exchange in exchanges for turn in exchange.turns)


def in_all_wordings(messages: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Yield a dialogue as it stands, then with the first of the `wordings` of its messages, and so on.

    In each it goes on until a message with wordings has none left, so that what follows an opening of many is
    not learned over and over. Raises ValueError.
    """
    others = [_reworded(message) for message in messages]
    yield messages
    for number in range(max(map(len, others), default=0)):
        yield list(_in_wording(number, messages, others))


def is_message(value: Any) -> bool:
    """Tell whether a JSON value is one message of a dialogue."""
    return isinstance(value, Mapping) and any(name in value for name in _ROLE_FIELDS)


def string(value: Any) -> str:
    """Return a string that can be learned, an empty one for nothing. Raises ValueError for what is none."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"text must be a string, got {value!r}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(value[error.start]):04x}"
        raise ValueError(f"{half} is half of a character; its other half is missing") from error
    return value


def _exchanges(messages: Sequence[Any], tally: Tally) -> list[_Exchange]:
    exchanges: list[_Exchange] = []
    for message in messages:
        role, text = _role(message), _text(message, tally)
        if role == "system":
            tally.leave_out(LeftOut.SYSTEM)
        elif role == "user":
            if not exchanges or exchanges[-1].is_answered:
                exchanges.append(_Exchange())
            exchanges[-1].questions += [] if is_blank(text) else [text]
        elif not exchanges:
            tally.leave_out(LeftOut.LEADING_TURN)
        else:
            _answer(exchanges[-1], text, uses_tools=role == "tool" or _has_calls(message))
    return exchanges


def _answer(exchange: _Exchange, text: str, *, uses_tools: bool) -> None:
    exchange.is_answered = True
    exchange.uses_tools = exchange.uses_tools or uses_tools
    exchange.replies += [] if is_blank(text) else [text]


def _in_wording(number: int, messages: Sequence[Any], others: Sequence[Sequence[Any]]) -> Iterator[Any]:
    for message, wordings in zip(messages, others, strict=True):
        if wordings and number >= len(wordings):
            return
        yield wordings[number] if wordings else message


def _reworded(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    wordings = message.get(_WORDINGS_FIELD) or []
    if not isinstance(wordings, list):
        raise ValueError(f"{_WORDINGS_FIELD} must be a list of strings, got {wordings!r}")
    return [{**message, _TEXT_FIELDS[0]: wording} for wording in wordings]


def _is_kept(exchange: _Exchange, tally: Tally) -> bool:
    if exchange.uses_tools:
        tally.leave_out(LeftOut.TOOL_EXCHANGE)
        return False
    if not exchange.questions or (exchange.is_answered and not exchange.replies):
        tally.leave_out(LeftOut.EMPTY_EXCHANGE)
        return False
    return True


def _role(message: Mapping[str, Any]) -> _Role:
    name = next((message[name] for name in _ROLE_FIELDS if message.get(name) is not None), None)
    role = _ROLES.get(name.casefold()) if isinstance(name, str) else None
    if role is None:
        raise ValueError(f"role must be user or assistant, got {name!r}")
    return role


def _text(message: Mapping[str, Any], tally: Tally) -> str:
    names = [name for name in _TEXT_FIELDS if name in message]
    if not names and not _has_calls(message):
        raise ValueError(f"a message must have content, got {dict(message)!r}")
    content = next((message[name] for name in names if message[name] is not None), None)
    if isinstance(content, list):
        return "".join(_part(part, tally) for part in content)
    return string(content)


def _part(part: Any, tally: Tally) -> str:
    if isinstance(part, str):
        return string(part)
    if isinstance(part, Mapping) and part.get("text") is not None:
        return string(part["text"])
    tally.leave_out(LeftOut.OTHER_PART)
    return ""


def _has_calls(message: Mapping[str, Any]) -> bool:
    return any(message.get(name) for name in _CALL_FIELDS)
