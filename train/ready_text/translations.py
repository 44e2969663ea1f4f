"""Translations: the messages of a gettext catalogue (.mo)."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

_MAGIC = 0x950412DE
_TAG = re.compile(r"<[^<>]*>")


def documents(content: bytes) -> Iterator[str]:
    """Yield each translation as a document, without tags; those with a placeholder are left out."""
    for original, translation in _messages(content):
        if original and "$" not in translation:  # the empty original is the catalogue's own header
            yield _TAG.sub("", translation)


def _messages(content: bytes) -> Iterator[tuple[str, str]]:
    order = "<" if struct.unpack_from("<I", content)[0] == _MAGIC else ">"
    magic, _, count, originals, translations = struct.unpack_from(f"{order}5I", content)
    if magic != _MAGIC:
        raise ValueError("not a gettext catalogue")
    for index in range(count):
        original, translation = (
            _text(content, *struct.unpack_from(f"{order}2I", content, table + 8 * index))
            for table in (originals, translations)
        )
        yield original, translation


def _text(content: bytes, length: int, start: int) -> str:
    return content[start : start + length].decode().partition("\0")[0]  # the first of a message's plurals
