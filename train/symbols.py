"""Characters of a text that a tokenizer made for another text has no symbol for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from model.tokenizer import Tokenizer
from train.document import Document

_SHOWN = 20


def warn_of_missing(documents: Iterable[Document], tokenizer: Tokenizer, say: Callable[[str], None]) -> None:
    """Say which characters go by their bytes: three symbols for one, harder to spell for a small model."""
    counts = Counter(c for document in documents for line in document.lines for c in line)
    missing = [c for c, _ in counts.most_common() if len(tokenizer.encode(c)) > 1]
    if missing:
        shown = "".join(missing[:_SHOWN]) + ("…" if len(missing) > _SHOWN else "")
        times = sum(counts[c] for c in missing)
        say(f"{len(missing)} characters have no symbol of their own, {times:,} times in the text: {shown}")
