"""What every engine is asked to do: random prompts of one length, the same sampling, no end symbol."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.anchors import SIZE

PROMPT_LENGTH = 16
TOP_K = 40
TOP_P = 0.9
TEMPERATURE = 0.8
# The first ids are special symbols and bytes in some of the vocabularies.
_FIRST_WORD = 300

# Generates so many new tokens for every row of a batch, prompts included, and returns how many it made.
Generate = Callable[[int], int]

_random = np.random.default_rng()


def prompts(batch_size: int) -> list[list[int]]:
    """Return new token ids (batch_size, PROMPT_LENGTH): nothing of an earlier prompt can be reused."""
    ids = _random.integers(_FIRST_WORD, SIZE.vocab_size, (batch_size, PROMPT_LENGTH))
    rows: list[list[int]] = ids.tolist()
    return rows
