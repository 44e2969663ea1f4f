"""Plain text: blank lines part documents; a text without any has one document a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from train.document import Document


def read_text(lines: Iterable[str]) -> Iterator[Document]:
    """Yield the documents of a text; `lines` are read twice."""
    for block in _paragraphs(lines) if _has_paragraphs(lines) else _single_lines(lines):
        if block.strip():
            yield Document(text=block.strip("\n"))


def _has_paragraphs(lines: Iterable[str]) -> bool:
    """Tell whether an empty line stands between two others."""
    has_begun = has_gap = False
    for line in lines:
        if line and has_gap:
            return True
        has_begun = has_begun or bool(line)
        has_gap = has_begun and not line
    return False


def _paragraphs(lines: Iterable[str]) -> Iterator[str]:
    block: list[str] = []
    for line in lines:
        if line:
            block.append(line)
        else:
            yield "\n".join(block)
            block = []
    yield "\n".join(block)


def _single_lines(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield from line.splitlines()
