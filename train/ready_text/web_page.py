"""Web pages: the paragraphs and headings of an HTML page."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser

_BLOCKS = {"p", "div", "li", "dt", "dd", "td", "th", "tr", "br", "h1", "h2", "h3", "h4", "h5", "h6"}
_SKIPPED = {"head", "script", "style", "pre", "sup"}
_NAVIGATION = {"docnav", "toc"}  # classes


def documents(content: bytes) -> Iterator[str]:
    """Yield the page as one document, a paragraph or heading a line, without code and navigation."""
    page = _Page()
    page.feed(content.decode())
    page.close()
    page.end_line()
    yield "\n".join(page.lines)


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.lines: list[str] = []
        self._line: list[str] = []
        self._skipped, self._depth = (
            "",
            0,
        )  # the element that is passed over, and how often it stands in itself

    def end_line(self) -> None:
        """Close the line at the border of a block; blanks inside count as one."""
        self.lines.append(" ".join("".join(self._line).split()))
        self._line = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a block, or an element that is passed over."""
        if self._skipped:
            self._depth += tag == self._skipped
        elif tag in _SKIPPED or _NAVIGATION & set((dict(attrs).get("class") or "").split()):
            self._skipped, self._depth = tag, 1
        elif tag in _BLOCKS:
            self.end_line()

    def handle_endtag(self, tag: str) -> None:
        """End a block, or an element that is passed over."""
        if self._skipped:
            self._depth -= tag == self._skipped
            self._skipped = self._skipped if self._depth else ""
        elif tag in _BLOCKS:
            self.end_line()

    def handle_data(self, data: str) -> None:
        """Take the text that is not passed over."""
        if not self._skipped:
            self._line.append(data)
