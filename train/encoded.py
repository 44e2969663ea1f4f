"""Documents as token ids: one of them, and many, that may lie on disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from model.tokenizer import Tokenizer
from train.document import Document

# What is kept of each document beside its ids: where they lie, and what needs no look at them.
INDEX = np.dtype(
    [
        ("key", "<u8"),
        ("start", "<u8"),  # in the shard
        ("shard", "<u4"),
        ("length", "<u4"),
        ("num_characters", "<u4"),
        ("is_dialogue", "?"),
    ]
)


@dataclass(frozen=True)
class EncodedDocument:
    """Token ids from begin to end, whether they are a dialogue, and Document's characters and key."""

    ids: np.ndarray
    is_dialogue: bool
    num_characters: int
    key: int

    @classmethod
    def of(cls, document: Document, tokenizer: Tokenizer) -> EncodedDocument:
        """Encode a document."""
        ids = np.array(document.encode(tokenizer))
        return cls(ids, bool(document.turns), document.num_characters, document.key)


class EncodedDocuments:
    """Many documents: an index with an entry for each (INDEX), and shards of ids end to end.

    Both may be memory-mapped: what is read of them is copied, and nothing else is held in memory.
    """

    def __init__(self, index: np.ndarray, shards: Sequence[np.ndarray]) -> None:
        self._index, self._shards = index, shards

    @classmethod
    def of(cls, documents: Iterable[EncodedDocument]) -> EncodedDocuments:
        """Hold documents in memory."""
        held = list(documents)
        starts = np.cumsum([0, *(len(document.ids) for document in held)])
        index = np.array([entry(d, 0, int(start)) for d, start in zip(held, starts, strict=False)], INDEX)
        return cls(index, [np.concatenate([document.ids for document in held])] if held else [])

    def __len__(self) -> int:
        return len(self._index)

    def __iter__(self) -> Iterator[EncodedDocument]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, number: int) -> EncodedDocument:
        found = self._index[number]
        is_dialogue, num_characters = bool(found["is_dialogue"]), int(found["num_characters"])
        return EncodedDocument(self.ids(number), is_dialogue, num_characters, int(found["key"]))

    def ids(self, number: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return the ids [start, stop) of a document as int64, a copy."""
        found = self._index[number]
        first, length = int(found["start"]), int(found["length"])
        end = first + (length if stop is None else min(stop, length))
        ids: np.ndarray = self._shards[found["shard"]][first + start : end].astype(np.int64)
        return ids

    @property
    def lengths(self) -> np.ndarray:
        """The number of ids of each document, int64."""
        lengths: np.ndarray = self._index["length"].astype(np.int64)
        return lengths

    @property
    def is_dialogue(self) -> np.ndarray:
        """Whether each document is a dialogue, bool."""
        flags: np.ndarray = self._index["is_dialogue"].copy()
        return flags

    @property
    def num_characters(self) -> int:
        """Characters of all documents together."""
        return int(self._index["num_characters"].sum(dtype=np.int64))

    @property
    def num_predicted(self) -> int:
        """Tokens that an epoch predicts: all but each document's first."""
        return int(self._index["length"].sum(dtype=np.int64)) - len(self)

    def by_key(self) -> Iterator[EncodedDocument]:
        """Yield the documents in the order of their keys: the first ones are a sample of all."""
        return (self[int(number)] for number in self._order)

    @property
    def lengths_by_key(self) -> np.ndarray:
        """The number of ids of each document, in the order of their keys, int64."""
        lengths: np.ndarray = self.lengths[self._order]
        return lengths

    @property
    def _order(self) -> np.ndarray:
        return np.argsort(self._index["key"], kind="stable")

    def sample(self, count: int) -> list[EncodedDocument]:
        """Return the `count` documents with the lowest keys, or all there are."""
        return list(islice(self.by_key(), count))


def encode(documents: Iterable[Document], tokenizer: Tokenizer) -> EncodedDocuments:
    """Encode documents into memory."""
    return EncodedDocuments.of(EncodedDocument.of(document, tokenizer) for document in documents)


def entry(document: EncodedDocument, shard: int, start: int) -> tuple[int, int, int, int, int, bool]:
    """Return a document's entry of the index."""
    length, is_dialogue = len(document.ids), document.is_dialogue
    return document.key, start, shard, length, document.num_characters, is_dialogue
