"""What one reading of a corpus took, and what it left out and why, in one line for the user."""

from __future__ import annotations

from collections import Counter
from enum import Enum
from textwrap import shorten

from train.document import Document, printable

_NAMED = 5  # files that the line names
_REASON = 80  # characters of a file's reason


class LeftOut(Enum):
    """Why a part of a file was left out: how one and how several of its kind are called."""

    EMPTY_ROW = "empty row", "empty rows"
    HALF_ROW = "row with only half of a pair", "rows with only half of a pair"
    WIDE_ROW = "row with more fields than its header", "rows with more fields than their header"
    SYSTEM = "system message", "system messages"
    LEADING_TURN = "assistant's turn before any user's", "assistant's turns before any user's"
    TOOL_EXCHANGE = "exchange with tools", "exchanges with tools"
    EMPTY_EXCHANGE = "exchange with an empty turn", "exchanges with an empty turn"
    OTHER_PART = "part of a message that is not text", "parts of messages that are not text"


class Tally:
    """Counts what readers tell it; `str` gives the line."""

    def __init__(self) -> None:
        self.num_dialogues = self.num_texts = self.num_files = 0
        self._left_out: Counter[LeftOut] = Counter()
        self._files: dict[str, str] = {}
        self._empty_files: list[str] = []
        self._notes: list[str] = []

    def __str__(self) -> str:
        taken = [_counted(self.num_dialogues, "dialogue", "dialogues")] if self.num_dialogues else []
        if self.num_texts or not taken:
            taken.append(_counted(self.num_texts, "text", "texts"))
        read = f"read {' and '.join(taken)} from {_counted(self.num_files, 'file', 'files')}"
        empty = [f"{name} (holds no text)" for name in self._empty_files if name not in self._files]
        left_out = ", ".join(filter(None, (self.left_out, _listed(empty))))
        return "; ".join([read, *([f"left out: {left_out}"] if left_out else []), *self._notes])

    @property
    def left_out(self) -> str:
        """What was left out of files that hold anything, and the files that are no texts."""
        counts = [_counted(self._left_out[kind], *kind.value) for kind in LeftOut if self._left_out[kind]]
        names = [f"{name} ({why})" for name, why in self._files.items()]
        return ", ".join(filter(None, [*counts, _listed(names)]))

    @property
    def num_documents(self) -> int:
        """Documents of either kind."""
        return self.num_dialogues + self.num_texts

    def take(self, document: Document) -> None:
        """Count a document that is read."""
        if document.turns:
            self.num_dialogues += 1
        else:
            self.num_texts += 1

    def leave_out(self, kind: LeftOut, count: int = 1) -> None:
        """Count a part of a file that is not read."""
        self._left_out[kind] += count

    def leave_out_file(self, name: str, why: str) -> None:
        """Name a file that is not read."""
        self._files[printable(name)] = shorten(why, _REASON, placeholder="…")

    def find_empty(self, name: str) -> None:
        """Name a file in which nothing was found, unless another reason is told already."""
        self._empty_files.append(printable(name))

    def note(self, text: str) -> None:
        """Add what the user should know about how something was read."""
        if text not in self._notes:
            self._notes.append(printable(text))


def _listed(names: list[str]) -> str:
    others = len(names) - _NAMED
    more = [_counted(others, "other file", "other files")] if others > 0 else []
    return ", ".join([*names[:_NAMED], *more])


def _counted(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"
