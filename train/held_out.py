"""Which documents are held out for validation: a share of the distinct ones, and no more of the text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_ABOUT = 1.25  # times the share asked for: documents differ in size, and their number is whole
_SHORT = 50  # characters of a document that may be held out of the smallest text


def held_out_keys(keys: Sequence[int], sizes: Sequence[int], validation_fraction: float) -> frozenset[int]:
    """Return the keys (Document.key) of the documents that are held out; `sizes` are their characters.

    Which they are depends on the content alone: those with the lowest keys. Equal documents count once and
    stay together. A document that would make the part about as large as asked or larger is passed over, so
    that a text in few or very unequal documents is not lost to it; there may be none that fits.
    """
    distinct, first = np.unique(np.asarray(keys, np.uint64), return_index=True)
    sizes_of = np.asarray(sizes, np.int64)[first]
    count = min(max(round(validation_fraction * len(distinct)), 1), len(distinct) - 1)
    if validation_fraction <= 0 or count < 1:
        return frozenset()
    room = max(_ABOUT * validation_fraction * int(sizes_of.sum()), _SHORT)
    chosen: list[int] = []
    for number in np.flatnonzero(sizes_of <= room):
        if len(chosen) == count:
            break
        if sizes_of[number] <= room:
            room -= int(sizes_of[number])
            chosen.append(int(distinct[number]))
    return frozenset(chosen)
