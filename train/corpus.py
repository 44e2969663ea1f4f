"""Corpora: text files, JSON Lines and standard input, read as documents."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.dialogue import Turn, encode_dialogue, encode_text
from model.tokenizer import Tokenizer
from train.encodings import explain

BUILT_IN = Path(__file__).resolve().parent.parent / "corpus"
STANDARD_INPUT = "-"
_SUFFIXES = (".txt", ".jsonl")
_RECORD = '{"text": …} or {"turns": [{"role": "user" or "assistant", "text": …}, …]}'


class CorpusError(ValueError):
    """A corpus is missing, empty, or not readable as what its name says."""


@dataclass(frozen=True)
class Document:
    """One dialogue (its turns) or one plain text; training and validation never share a document."""

    text: str = ""
    turns: tuple[Turn, ...] = ()

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

    @property
    def digest(self) -> bytes:
        """A hash of the content and the roles."""
        parts = [f"{turn.role}\0{turn.text}" for turn in self.turns] or [self.text]
        return hashlib.sha256("\0".join(parts).encode()).digest()

    def encode(self, tokenizer: Tokenizer) -> list[int]:
        """Return the token ids with begin, markers and end."""
        return encode_dialogue(tokenizer, self.turns) if self.turns else encode_text(tokenizer, self.text)


def read_documents(sources: Iterable[str]) -> list[Document]:
    """Read files, folders of .txt and .jsonl files, or `-` for standard input. Raises CorpusError."""
    names = list(sources)
    documents = [document for source in names for document in _read_source(source)]
    if not documents:
        raise CorpusError(f"the corpus holds no text: {', '.join(names)}")
    return documents


def files_of(sources: Iterable[str]) -> list[Path]:
    """Return the files that are read for the sources; standard input has none."""
    files: list[Path] = []
    for path in (Path(source) for source in sources if source != STANDARD_INPUT):
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix in _SUFFIXES and p.is_file())
            if not inside:
                raise CorpusError(f"{path}: there is no .txt or .jsonl file in this folder")
            files += inside
        else:
            files.append(path)
    return files


def split(documents: list[Document], validation_fraction: float) -> tuple[list[Document], list[Document]]:
    """Return training and validation documents; which is which depends on the content alone."""
    count = round(validation_fraction * len(documents))
    if validation_fraction > 0 and len(documents) > 1:
        count = min(max(count, 1), len(documents) - 1)
    held_out = sorted({document.digest for document in documents})[:count]
    chosen = set(held_out)
    train = [document for document in documents if document.digest not in chosen]
    return (train, [d for d in documents if d.digest in chosen]) if train else (documents, [])


def fingerprint(documents: Iterable[Document]) -> str:
    """Return a SHA-256 over the documents in their order."""
    digest = hashlib.sha256()
    for document in documents:
        digest.update(document.digest)
    return digest.hexdigest()


def _read_source(source: str) -> Iterator[Document]:
    if source == STANDARD_INPUT:
        content = _decode(sys.stdin.buffer.read(), "standard input")
        jsonl = content.lstrip().startswith("{")
        yield from _parse_jsonl(content, "standard input") if jsonl else _parse_text(content)
        return
    for file in files_of([source]):
        yield from _read_file(file)


def _read_file(path: Path) -> Iterator[Document]:
    if path.suffix not in _SUFFIXES:
        raise CorpusError(
            f"{path}: a corpus is a .txt or .jsonl file, a folder of them, or - for standard input"
        )
    try:
        content = _decode(path.read_bytes(), str(path))
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror}") from error
    return _parse_jsonl(content, str(path)) if path.suffix == ".jsonl" else _parse_text(content)


def _decode(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise CorpusError(f"{name}, line {line}: {explain(content, error.start)}") from error


def _parse_text(content: str) -> Iterator[Document]:
    """Blank lines part documents; a text without any has one document a line."""
    blocks = content.strip("\n").split("\n\n")
    for block in blocks if len(blocks) > 1 else content.splitlines():
        if block.strip():
            yield Document(text=block.strip("\n"))


def _parse_jsonl(content: str, name: str) -> Iterator[Document]:
    for number, line in enumerate(content.split("\n"), start=1):
        if line.strip():
            try:
                yield _parse_record(json.loads(line))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise CorpusError(f"{name}, line {number}: expected {_RECORD} ({error})") from error


def _parse_record(record: dict[str, Any]) -> Document:
    """Read {"text"}, {"turns": [{"role", "text"}]} or {"messages": [{"role", "content"}]}."""
    if "text" in record:
        return Document(text=_string(record["text"]))
    if "messages" in record:
        return Document(turns=tuple(_turn(m["role"], m["content"]) for m in record["messages"]))
    return Document(turns=tuple(_turn(t["role"], t["text"]) for t in record["turns"]))


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
