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
_REPLACEMENT = "\ufffd"  # stands where bytes were no character
_BROKEN = ("Cs", "Co")  # half of a surrogate pair, private use
_GROWING = (range(0x1F000, 0x1FB00), range(0x2A6E0, 0x33480))  # emoji, Chinese characters: more each year


@dataclass(frozen=True)
class TextQuality:
    """`repetition` is the share of character 4-grams that stood in the same text before (seq-rep-4).

    `validity` is the share of whole characters: what stands for broken bytes, half of a surrogate pair,
    private use, an unassigned code point and a control are none; an empty text counts as one that is none.
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
    """Whether it is a character at all, of whatever script; line breaks and tabs are the only controls."""
    if character == _REPLACEMENT:
        return False
    category = unicodedata.category(character)
    if category == "Cc":
        return character in "\n\t"
    if category == "Cn":  # to this Python's tables, which may be older than the text
        return any(ord(character) in block for block in _GROWING)
    return category not in _BROKEN
