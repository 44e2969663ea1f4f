"""The plan of an epoch: which pieces of which documents share a window, and which windows a batch."""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from train.encoded import EncodedDocuments

_OPEN_WINDOWS = 32
_NUMBER = "I"  # four bytes: a plan has fewer than 2**32 documents, pieces and windows

Window = list[np.ndarray]  # pieces of documents that share the positions of one row of a batch


class EpochPlan:
    """An epoch's batches of windows; the last batch may be smaller.

    Documents are shuffled, some dialogues joined (`join_dialogues`), cut to pieces of at most `length`
    predictions that overlap by one id (so every id but the first is predicted exactly once), and packed
    whole into windows of `length` positions.

    A plan holds numbers only, some 30 bytes a document; ids are read when a batch is asked for.
    """

    def __init__(
        self, documents: EncodedDocuments, *, length: int, batch_size: int, join: float, rng: random.Random
    ) -> None:
        self._documents, self._length, self._batch_size = documents, length, batch_size
        self._lengths = array(_NUMBER, documents.lengths.astype(np.uint32).tobytes())
        order = array(_NUMBER, range(len(documents)))
        rng.shuffle(order)
        # Units are documents, or dialogues joined to one: the members of unit i are
        # members[first[i] : first[i + 1]]. A piece is a unit and where in it the piece starts.
        self._members, self._firsts = array(_NUMBER), array(_NUMBER, [0])
        self._units, self._starts = array(_NUMBER), array(_NUMBER)
        sizes = array(_NUMBER)  # predictions of each piece
        dialogues = documents.is_dialogue.tobytes()  # 0 or 1 for each document
        for unit in join_dialogues(order, self._lengths, dialogues, join, length, rng):
            size = sum(self._lengths[number] - 2 for number in unit) + 1
            for start in range(0, size, length):
                self._units.append(len(self._firsts) - 1)
                self._starts.append(start)
                sizes.append(min(length, size - start))
            self._members.extend(unit)
            self._firsts.append(len(self._members))
        pieces = array(_NUMBER, range(len(sizes)))
        rng.shuffle(pieces)
        # The pieces of window i are pieces[ends[i - 1] : ends[i]].
        self._pieces, self._ends = array(_NUMBER), array(_NUMBER)
        for window in pack(pieces, sizes, length):
            self._pieces.extend(window)
            self._ends.append(len(self._pieces))
        self._windows = array(_NUMBER, range(len(self._ends)))
        rng.shuffle(self._windows)

    def __len__(self) -> int:
        return math.ceil(len(self._windows) / self._batch_size)

    def __getitem__(self, batch: int) -> list[Window]:
        first = batch * self._batch_size
        return [self._window(number) for number in self._windows[first : first + self._batch_size]]

    def _window(self, number: int) -> Window:
        first = self._ends[number - 1] if number else 0
        return [self._piece(piece) for piece in self._pieces[first : self._ends[number]]]

    def _piece(self, number: int) -> np.ndarray:
        unit, start = self._units[number], self._starts[number]
        members = self._members[self._firsts[unit] : self._firsts[unit + 1]]
        if len(members) == 1:
            return self._documents.ids(members[0], start, start + self._length + 1)
        # one begin, one end
        bodies = [self._documents.ids(member, 1, self._lengths[member] - 1) for member in members]
        begin, end = self._documents.ids(members[0], 0, 1), self._documents.ids(members[-1])[-1:]
        return np.concatenate([begin, *bodies, end])


def join_dialogues(
    order: Iterable[int],
    lengths: Sequence[int],
    is_dialogue: Sequence[int],
    share: float,
    length: int,
    rng: random.Random,
) -> Iterator[list[int]]:
    """Yield the documents' numbers, a share of the dialogues with those that they continue.

    A real conversation changes its subject and grows longer than any dialogue of the corpus: joined
    dialogues train the positions up to `length`, and replies that a history beside the point leaves alone.
    """
    conversation: list[int] = []
    size = 0  # ids of the conversation
    for number in order:
        if not is_dialogue[number]:
            yield [number]
        elif conversation and rng.random() < share and size + lengths[number] - 2 <= length + 1:
            conversation.append(number)
            size += lengths[number] - 2
        else:
            if conversation:
                yield conversation
            conversation, size = [number], lengths[number]
    if conversation:
        yield conversation


def covered_positions(documents: EncodedDocuments, *, length: int, join: float) -> int:
    """Return how many positions training covers: `length`, or fewer when no text is that long.

    Joined dialogues may grow together until they fill a window.
    """
    lengths = documents.lengths
    longest = int(lengths.max()) - 1
    dialogues = int((lengths[documents.is_dialogue] - 2).sum()) + 1
    return min(length, max(longest, dialogues) if join > 0 else longest)


def pack(pieces: Iterable[int], sizes: Sequence[int], length: int) -> Iterator[list[int]]:
    """Put each piece into the fullest open window that still has room for it; yield the windows."""
    open_windows: list[tuple[int, list[int]]] = []  # (room left, pieces)
    for piece in pieces:
        size = sizes[piece]
        fitting = [i for i, (room, _) in enumerate(open_windows) if room >= size]
        if fitting:
            best = min(fitting, key=lambda i: open_windows[i][0])
            room, window = open_windows[best]
            open_windows[best] = (room - size, [*window, piece])
        else:
            open_windows.append((length - size, [piece]))
        if len(open_windows) > _OPEN_WINDOWS:
            fullest = min(range(len(open_windows)), key=lambda i: open_windows[i][0])
            yield open_windows.pop(fullest)[1]
    yield from (window for _, window in open_windows)
