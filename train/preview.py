"""What a run would learn: --dry_run reads the texts, shows the first documents, and ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from train.corpus import BUILT_IN, Corpus
from train.document import CorpusError, Document

_DOCUMENTS = 5
_LINES = 4  # shown of a document
_CHARACTERS = 100  # shown of a line


def preview(texts: Sequence[str], say: Callable[[str], None]) -> int:
    """Say what is read and left out, and the first documents as they would be learned; return the status."""
    corpus = Corpus(texts or (str(BUILT_IN),))
    try:
        documents = iter(corpus)
        shown = list(islice(documents, _DOCUMENTS))
        for _ in documents:
            pass  # the tally counts them
    except (CorpusError, OSError) as error:
        say(f"train: {error}")
        return 1
    say(str(corpus.tally))
    for number, document in enumerate(shown, start=1):
        say(f"--- {number}")
        for line in _cut(document):
            say(line)
    say("nothing was trained: without --dry_run this is learned")
    return 0


def _cut(document: Document) -> Iterator[str]:
    lines = list(_lines(document))
    for line in lines[:_LINES]:
        yield line if len(line) <= _CHARACTERS else f"{line[:_CHARACTERS]}…"
    if len(lines) > _LINES:
        yield f"… and {len(lines) - _LINES} more lines"


def _lines(document: Document) -> Iterator[str]:
    for turn in document.turns:
        first, *others = turn.text.split("\n")
        yield f"{turn.role}: {first}"
        yield from others
    yield from document.text.splitlines()
