"""A document: what the corpus is made of, and what training and validation never share."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from model.dialogue import Turn, encode_dialogue, encode_text
from model.text import normalize
from model.tokenizer import Tokenizer


class CorpusError(ValueError):
    """A corpus is missing, empty, or not readable as what its name says."""


def is_blank(text: str) -> bool:
    """Tell whether nothing of a text can be seen, blanks of every width included."""
    seen = text.lstrip()
    return not seen or not (seen[0].isalnum() or normalize(seen).strip())  # most texts begin with a letter


def printable(name: object) -> str:
    """Return a file's name as it can be printed: bytes of it that are not UTF-8 are escaped."""
    raw = str(name).encode("utf-8", "surrogateescape")
    return raw.decode("utf-8", "backslashreplace")


@dataclass(frozen=True)
class Document:
    """One dialogue (its turns) or one plain text, in its one form (`normalize`).

    Training and validation never share a document.
    """

    text: str = ""
    turns: tuple[Turn, ...] = ()

    def __post_init__(self) -> None:
        turns = tuple(Turn(turn.role, normalize(turn.text).strip()) for turn in self.turns)
        object.__setattr__(self, "text", normalize(self.text))
        object.__setattr__(self, "turns", turns)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to learn from it."""
        return not (any(turn.text for turn in self.turns) or self.text.strip())

    @property
    def num_characters(self) -> int:
        """Characters scored: the content, a line break between turns, and one for the end."""
        if self.turns:
            return sum(len(turn.text) + 1 for turn in self.turns)
        return len(self.text) + 1

    @property
    def lines(self) -> list[str]:
        """The content without role markers, for training a tokenizer."""
        return [turn.text for turn in self.turns] or self.text.splitlines()

    @cached_property
    def digest(self) -> bytes:
        """A hash of the content and the roles."""
        parts = [f"{turn.role}\0{turn.text}" for turn in self.turns] or [self.text]
        return hashlib.sha256("\0".join(parts).encode()).digest()

    @property
    def key(self) -> int:
        """The digest's first 64 bits: what a document is told apart and drawn by without its text."""
        return int.from_bytes(self.digest[:8], "big")

    def encode(self, tokenizer: Tokenizer) -> list[int]:
        """Return the token ids with begin, markers and end."""
        return encode_dialogue(tokenizer, self.turns) if self.turns else encode_text(tokenizer, self.text)
