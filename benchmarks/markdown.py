"""Tables for the pages that the benchmarks write."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

LEFT, RIGHT = "---", "---:"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, align: str = LEFT) -> list[str]:
    """Return the lines of a Markdown table: the first column to the left, the others as `align` says."""
    rule = [LEFT, *(align for _ in header[1:])]
    return [f"| {' | '.join(row)} |" for row in (header, rule, *rows)]
