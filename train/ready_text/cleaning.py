"""What is kept of a package's text: lines of Japanese, each once."""

from __future__ import annotations

import re
from collections.abc import Iterable

_JAPANESE = re.compile(r"[ぁ-ゖァ-ヺー々一-鿿]")
_LEAST_SHARE = 0.3  # of a line's characters; below it stands a Japanese word in another language's sentence
_BLANKS = re.compile(r"[ \t\xa0]+")
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")


def clean(documents: Iterable[str]) -> list[str]:
    """Return the documents without blank lines, repeated lines, and lines that are not Japanese."""
    seen: set[str] = set()
    kept = []
    for document in documents:
        lines = []
        for line in map(_tidied, document.splitlines()):
            if line not in seen and is_japanese(line):
                seen.add(line)
                lines.append(line)
        if lines:
            kept.append("\n".join(lines))
    return kept


def is_japanese(line: str) -> bool:
    """Tell whether a line is written in Japanese, be it with Latin names in it."""
    characters = sum(not character.isspace() for character in line)
    return len(_JAPANESE.findall(line)) > _LEAST_SHARE * characters


def _tidied(line: str) -> str:
    return _BLANKS.sub(" ", _CONTROLS.sub("", line)).strip()
