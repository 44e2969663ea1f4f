"""What bytes that are not UTF-8 may be, so that the error can say how to mend them."""

from __future__ import annotations

import codecs
import re

_BYTE_ORDER_MARKS = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}
_OTHERS = {"cp932": "Shift_JIS", "euc_jp": "EUC-JP", "utf_16_le": "UTF-16LE", "utf_16_be": "UTF-16BE"}
_KANA = re.compile("[\u3041-\u30ff]")
SAMPLE = 1 << 16  # bytes


def explain(byte: int, position: int, beginning: bytes) -> str:
    """Return what is wrong with a file whose byte at `position` is not UTF-8, by its first SAMPLE bytes."""
    name = guess(beginning)
    if name is None:
        return f"not UTF-8: byte {byte:#04x} at offset {position}"
    return f"{name}, not UTF-8: convert it, for example with iconv -f {name} -t UTF-8"


def guess(content: bytes) -> str | None:
    """Return the name, as iconv knows it, of the encoding that makes Japanese of the bytes, or None."""
    for mark, name in _BYTE_ORDER_MARKS.items():
        if content.startswith(mark):
            return name
    for codec, name in _OTHERS.items():
        if _is_japanese(content[:SAMPLE], codec):
            return name
    return None


def _is_japanese(content: bytes, codec: str) -> bool:
    """Whether the bytes decode, a cut-off end aside, to text that is a tenth kana or more."""
    try:
        text = codecs.getincrementaldecoder(codec)().decode(content)
    except UnicodeDecodeError:
        return False
    return 10 * len(_KANA.findall(text)) >= len(text) > 0
