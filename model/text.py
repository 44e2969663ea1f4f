"""One text, one form: what training text, prompts and histories pass through before they become ids."""

from __future__ import annotations

import re
import unicodedata

_JAPANESE = "\u3041-\u30ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f々。、」』）！？"
_LINE_BREAKS = dict.fromkeys("\r\v\f\x85\u2028\u2029", "\n")
_BLANKS = dict.fromkeys("\u00a0\u1680\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B))), " ")
# Nothing is lost with them: zero-width blanks, soft hyphens, control characters, variants of one ideograph.
# The zero-width joiner and the emoji selectors stay, since they make one picture of several.
_INVISIBLE = dict.fromkeys(
    [
        *range(0x00, 0x09), *range(0x0E, 0x20), *range(0x7F, 0x85), *range(0x86, 0xA0),
        0xAD, 0x200B, 0x2060, 0xFEFF, *range(0xE0100, 0xE01F0),
    ]
)  # fmt: skip
# The full-width forms of ASCII that Japanese text does not set full width on purpose: these stay as they are.
_KEPT_WIDE = "！（），．／：；？"
_WIDTHS = {chr(c): chr(c - 0xFEE0) for c in range(0xFF01, 0xFF5F) if chr(c) not in _KEPT_WIDE} | {"～": "〜"}
_TABLE = str.maketrans({**_LINE_BREAKS, **_BLANKS, **_WIDTHS}) | _INVISIBLE
_HALF_WIDTH_KANA = re.compile(r"[\uff61-\uff9f]+")
_ASCII_MARK = re.compile(rf"(?<=[{_JAPANESE}])[!?]+")
_WIDE_MARK = str.maketrans("!?", "！？")


def normalize(text: str) -> str:
    """Return the one form of a text: NFC, one width for each character, one kind of blank and line break.

    Half-width kana become full width, full-width letters and digits ASCII; `?` and `!` after Japanese become
    `？` and `！`. The result is a fixed point: normalising it again changes nothing.
    """
    if text.isascii() and text.isprintable():
        return text
    text = text.replace("\r\n", "\n").translate(_TABLE)
    text = _HALF_WIDTH_KANA.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
    text = unicodedata.normalize("NFC", text)
    return _ASCII_MARK.sub(lambda match: match[0].translate(_WIDE_MARK), text)
