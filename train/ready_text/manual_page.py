"""Manual pages: the running text of a page in roff's man dialect."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator

_CONTROL = re.compile(r"[.']\s*(\.|[^\s\\\"]*)(.*)")
_COMMENT = re.compile(r"\\[\"#].*")
_ARGUMENT = re.compile(r'"((?:[^"]|"")*)"?|((?:\\ |\S)+)')
_ESCAPE = re.compile(
    r"""\\(?:
        f(?:\[[^]]*\]|\(..|.)             # font
      | s[-+]?\d+                         # size
      | [hvwDLlXo]'[^']*'                 # moves and drawings
      | n[-+]?(?:\[[^]]*\]|\(..|.)        # number registers
      | \*?(?:\[([^]]*)\]|\((..))|\*(.)   # named characters and strings
      | (.)                               # one character
    )""",
    re.VERBOSE,
)
_NAMED = {"aq": "'", "cq": "'", "Aq": "'", "oq": "'", "ga": "`", "dq": '"', "lq": '"', "rq": '"', "Q": '"'}
_NAMED |= {'L"': '"', 'R"': '"', "U": '"', "em": "—", "en": "–", "hy": "-", "mi": "-", "rs": "\\", "ha": "^"}
_NAMED |= {"ti": "~", "co": "©", "+-": "±"}
_SINGLE = {
    "-": "-",
    "e": "\\",
    "\\": "\\",
    " ": " ",
    "~": " ",
    "0": " ",
    "t": " ",
    "'": "'",
    "`": "`",
    ".": ".",
}

_WORDS = {"B", "I", "SM", "SB", "C", "R", "SH", "SS", "IP"}  # arguments are text, with blanks between
_ALTERNATING = {"BR", "BI", "IR", "IB", "RB", "RI"}  # arguments are text, without
_HEADINGS = {"SH", "SS"}
_BREAKS = {"PP", "P", "LP", "TP", "TQ", "IP", "HP", "RS", "RE", "br", "sp", "Sp", "in", "ti", *_HEADINGS}
_BLOCKS = {"nf": "fi", "EX": "EE", "Vb": "Ve", "TS": "TE", "EQ": "EN", "de": ".", "ig": "."}
_MDOC = re.compile(r"^\.Sh ", re.MULTILINE)
_NO_BLANK_BESIDE = "、。，．・：；？！（）「」『』"


def documents(content: bytes) -> Iterator[str]:
    """Yield the page as one document, a paragraph or heading a line, without code and tables.

    Pages in the other dialect, mdoc, yield nothing.
    """
    page = gzip.decompress(content).decode()
    if not _MDOC.search(page):
        yield "\n".join(_joined(paragraph) for paragraph in _paragraphs(page))


def _paragraphs(page: str) -> Iterator[list[str]]:
    """Yield the pieces of each paragraph and each heading."""
    pieces: list[str] = []
    block = ""  # the macro that ends the block that is passed over
    for line in page.splitlines():
        name, text = _parsed(line)
        if block and name not in {block, *_HEADINGS}:
            continue
        block = _BLOCKS.get(name, "")
        if block or name in _BREAKS or not line.strip():
            yield pieces
            pieces = []
        if text:
            pieces.append(text)
        if name in _HEADINGS and text:
            yield pieces
            pieces = []
    yield pieces


def _parsed(line: str) -> tuple[str, str]:
    """Return a line's macro and its text; a macro that sets no text has none."""
    line = _COMMENT.sub("", line)
    control = _CONTROL.match(line)
    if control is None:
        return "", _unescaped(line).strip()
    name, rest = control.groups()
    arguments = [quoted.replace('""', '"') or plain for quoted, plain in _ARGUMENT.findall(rest)]
    if name == "IP":
        arguments = arguments[:1]  # the second is a width
    if name in _WORDS | _ALTERNATING:
        return name, _unescaped(("" if name in _ALTERNATING else " ").join(arguments)).strip()
    return name, ""


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(_character, text)


def _character(escape: re.Match[str]) -> str:
    long, two, one, single = escape.groups()
    name = long or two or one
    return _NAMED.get(name, "") if name else _SINGLE.get(single or "", "")


def _joined(pieces: list[str]) -> str:
    """Join the lines of a paragraph: a line break is a blank, but not inside Japanese."""
    text = ""
    for piece in pieces:
        text += (" " if text and _needs_blank(text[-1], piece[0]) else "") + piece
    return text


def _needs_blank(before: str, after: str) -> bool:
    is_japanese = min(before, after) >= "\u2e80"
    return not (is_japanese or before in _NO_BLANK_BESIDE or after in _NO_BLANK_BESIDE)
