"""Which preset a run takes when none is named: a small text starts from the model that NeuroQ ships."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from train.arguments import PRESETS
from train.corpus import STANDARD_INPUT, Corpus
from train.parent import SHAPE
from train.remote import BUILT_IN_MODEL

SMALL_TEXT = 300_000  # characters; from nothing a model learns little from fewer
_OWN_START = {*SHAPE, "tokenizer_path", "init_from", "seq_length"}


def choose_preset(name: str | None, given: Mapping[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    """Return the preset `name`; without one `tune` for a small text, unless the arguments say how to start.

    Raises CorpusError when the text cannot be read.
    """
    if name is None and not _OWN_START & set(given) and _is_small(given.get("texts", ())):
        say(
            f"a text of at most {SMALL_TEXT:,} characters: starting from the model that NeuroQ ships "
            "(--preset tune; --preset seed begins from nothing)"
        )
        name = "tune"
    return PRESETS[name or "seed"]


def _is_small(texts: tuple[str, ...]) -> bool:
    """Tell whether there is a text of one's own, small enough to tune the shipped model on."""
    if not texts or STANDARD_INPUT in texts or not BUILT_IN_MODEL.is_file():
        return False
    left = SMALL_TEXT
    for document in Corpus(texts):
        left -= document.num_characters
        if left < 0:
            return False
    return True
