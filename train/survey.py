"""The first reading of a corpus: what it holds, what is held out, and a sample for the tokenizer."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable
from dataclasses import dataclass

from train.document import Document
from train.held_out import held_out_keys

SAMPLE_CHARACTERS = 10_000_000
_KEYS = 1 << 64


@dataclass(frozen=True)
class Survey:
    """`held_out` are the keys of the validation documents."""

    fingerprint: str
    held_out: frozenset[int]
    sample: list[Document]


def survey(
    documents: Iterable[Document], validation_fraction: float, sample_characters: int = SAMPLE_CHARACTERS
) -> Survey:
    """Read the documents once, holding 16 bytes of each and the sample."""
    keys, sizes, digest, sample = array("Q"), array("Q"), hashlib.sha256(), _Sample(sample_characters)
    for document in documents:
        keys.append(document.key)
        sizes.append(document.num_characters)
        digest.update(document.digest)
        sample.add(document)
    held_out = held_out_keys(keys, sizes, validation_fraction)
    kept = [d for d in sample.documents if d.key not in held_out]
    if not kept and sample_characters:  # small documents beside one that is larger than the sample
        kept = _sample_of((d for d in documents if d.key not in held_out), sample_characters)
    return Survey(digest.hexdigest(), held_out, kept)


def _sample_of(documents: Iterable[Document], num_characters: int) -> list[Document]:
    sample = _Sample(num_characters)
    for document in documents:
        sample.add(document)
    return sample.documents


class _Sample:
    """All documents while they have at most so many characters, else those of the highest keys.

    Each time there are too many, the range of keys is halved: so the sample depends on the content alone.
    The lowest keys are held out for validation, which the sample must not hold.
    """

    def __init__(self, num_characters: int) -> None:
        self.documents: list[Document] = []
        self._most, self._held, self._lowest = num_characters, 0, 0

    def add(self, document: Document) -> None:
        """Take a document into the sample, or not."""
        if document.key < self._lowest:
            return
        self.documents.append(document)
        self._held += document.num_characters
        while self._held > self._most and len(self.documents) > 1:
            self._lowest = _KEYS - (_KEYS - self._lowest) // 2
            kept = [d for d in self.documents if d.key >= self._lowest]
            self.documents = kept or [max(self.documents, key=lambda d: d.key)]
            self._held = sum(d.num_characters for d in self.documents)
