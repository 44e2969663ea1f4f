"""Plain text: blank lines part documents; a text without any has one document a line.

A line is blank when it holds nothing but blanks, those of full width included.
"""

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
        is_blank = not line.strip()
        if has_gap and not is_blank:
            return True
        has_begun = has_begun or not is_blank
        has_gap = has_begun and is_blank
    return False


def _paragraphs(lines: Iterable[str]) -> Iterator[str]:
    block: list[str] = []
    for line in lines:
        if line.strip():
            block.append(line)
        else:
            yield "\n".join(block)
            block = []
    yield "\n".join(block)


def _single_lines(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield from line.splitlines()
