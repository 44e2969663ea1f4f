"""How sound a text is, whatever it says: does it repeat itself, and are its characters whole?"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from model.tokenizer import Tokenizer
from train.encoded import EncodedDocuments

_NGRAM = 4
_REFERENCE_DOCUMENTS = 200
_REFERENCE_CHARACTERS = 100  # of each: about what a model writes when it is judged
_CHARACTER_SETS = ("cp932", "euc_jis_2004")  # what Japanese text is written with, the Latin alphabet included


@dataclass(frozen=True)
class TextQuality:
    """`repetition` is the share of character 4-grams that stood in the same text before (seq-rep-4).

    `validity` is the share of the characters that Japanese text is written with; an empty text counts as
    one character that is none.
    """

    repetition: float
    validity: float


def measure(texts: Iterable[str]) -> TextQuality:
    """Return the quality of texts, longer ones counting more."""
    ngrams = repeated = characters = valid = 0
    for text in texts:
        each = [text[i : i + _NGRAM] for i in range(len(text) - _NGRAM + 1)]
        ngrams += len(each)
        repeated += len(each) - len(set(each))
        characters += max(len(text), 1)
        valid += sum(map(_is_valid, text))
    return TextQuality(repeated / max(ngrams, 1), valid / characters if characters else 1.0)


def measure_documents(documents: EncodedDocuments, tokenizer: Tokenizer) -> TextQuality:
    """Return the quality of the beginnings of some documents, for comparison."""
    beginnings = (document.ids[:_REFERENCE_CHARACTERS] for document in documents.sample(_REFERENCE_DOCUMENTS))
    return measure(tokenizer.decode(ids.tolist())[:_REFERENCE_CHARACTERS] for ids in beginnings)


@cache
def _is_valid(character: str) -> bool:
    """Whether a Japanese character set has it; controls, private and broken characters (U+FFFD) are none."""
    if unicodedata.category(character).startswith("C"):
        return character == "\n"
    return any(_has(character_set, character) for character_set in _CHARACTER_SETS)


def _has(character_set: str, character: str) -> bool:
    try:
        character.encode(character_set)
    except UnicodeEncodeError:
        return False
    return True
