"""From encoded documents to the windows that training steps see."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from model.tokenizer import ASSISTANT, SPECIALS, UNKNOWN, USER

IGNORE = -100  # targets that the loss leaves out
_OPEN_WINDOWS = 32

Window = list[np.ndarray]  # pieces of documents that share the positions of one row of a batch


@dataclass(frozen=True)
class EncodedDocument:
    """Token ids from begin to end, and whether they are a dialogue."""

    ids: np.ndarray
    is_dialogue: bool


@dataclass(frozen=True)
class Batch:
    """B windows of T positions."""

    inputs: Tensor  # (B, T) token ids
    targets: Tensor  # (B, T) token ids, IGNORE where there is nothing to predict
    positions: Tensor  # (B, T) positions, from 0 in each piece
    mask: Tensor  # (B, 1, T, T) true where a query may attend: earlier, and in the same piece

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        tensors = (self.inputs, self.targets, self.positions, self.mask)
        return Batch(*(tensor.to(device) for tensor in tensors))


def plan_epoch(
    documents: list[EncodedDocument], *, length: int, batch_size: int, join: float, rng: random.Random
) -> list[list[Window]]:
    """Return an epoch's batches of windows; the last batch may be smaller.

    Documents are shuffled, some dialogues joined (`join_dialogues`), cut to pieces of at most `length`
    predictions, and packed whole into windows of `length` positions.
    """
    order = documents[:]
    rng.shuffle(order)
    pieces = [piece for ids in join_dialogues(order, join, length, rng) for piece in cut(ids, length)]
    rng.shuffle(pieces)
    windows = list(_pack(pieces, length))
    rng.shuffle(windows)
    return [windows[i : i + batch_size] for i in range(0, len(windows), batch_size)]


def covered_positions(documents: list[EncodedDocument], *, length: int, join: float) -> int:
    """Return how many positions training covers: `length`, or fewer when no text is that long.

    Joined dialogues may grow together until they fill a window.
    """
    longest = max(len(document.ids) - 1 for document in documents)
    dialogues = sum(len(document.ids) - 2 for document in documents if document.is_dialogue) + 1
    return min(length, max(longest, dialogues) if join > 0 else longest)


def join_dialogues(
    documents: list[EncodedDocument], share: float, length: int, rng: random.Random
) -> Iterator[np.ndarray]:
    """Yield the ids of the documents, a share of the dialogues as the continuation of the one before.

    A real conversation changes its subject and grows longer than any dialogue of the corpus: joined
    dialogues train the positions up to `length`, and replies that a history beside the point leaves alone.
    """
    conversation: np.ndarray | None = None
    for document in documents:
        if not document.is_dialogue:
            yield document.ids
        elif (
            conversation is not None
            and rng.random() < share
            and len(conversation) + len(document.ids) - 2 <= length + 1
        ):
            conversation = np.concatenate([conversation[:-1], document.ids[1:]])  # one begin, one end
        else:
            if conversation is not None:
                yield conversation
            conversation = document.ids
    if conversation is not None:
        yield conversation


def cut(ids: np.ndarray, length: int) -> list[np.ndarray]:
    """Cut a document into pieces of at most length + 1 ids that overlap by one.

    So every id but the first is predicted exactly once.
    """
    return [ids[i : i + length + 1] for i in range(0, len(ids) - 1, length)]


def collate(windows: list[Window], *, length: int) -> Batch:
    """Return the tensors of one batch."""
    shape = (len(windows), length)
    inputs, positions = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    targets, owner = torch.full(shape, IGNORE), torch.full(shape, -1)
    for row, window in enumerate(windows):
        start = 0
        for number, piece in enumerate(window):
            end = start + len(piece) - 1
            ids = torch.from_numpy(piece)
            inputs[row, start:end], targets[row, start:end] = ids[:-1], ids[1:]
            positions[row, start:end], owner[row, start:end] = torch.arange(end - start), number
            start = end
    same = owner[:, :, None] == owner[:, None, :]  # (B, T, T)
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    return Batch(inputs, targets, positions, (same & causal)[:, None])


def blank_user_words(batch: Batch, share: float) -> Batch:
    """Replace a share of the input tokens in users' turns by the unknown symbol.

    The targets stay: the model learns to find a reply without any single word of the question, so that the
    same question in other words still finds it.
    """
    if share == 0:
        return batch
    place = torch.arange(batch.inputs.shape[1]).expand_as(batch.inputs)
    last_user, last_assistant = (
        torch.where(batch.inputs == SPECIALS.index(marker), place, -1).cummax(dim=1).values
        for marker in (USER, ASSISTANT)
    )
    is_user_word = (last_user > last_assistant) & (batch.inputs >= len(SPECIALS))
    chosen = is_user_word & (torch.rand(batch.inputs.shape) < share)
    return replace(batch, inputs=batch.inputs.masked_fill(chosen, SPECIALS.index(UNKNOWN)))


def _pack(pieces: list[np.ndarray], length: int) -> Iterator[Window]:
    """Put each piece into the fullest open window that still has room for it."""
    open_windows: list[tuple[int, Window]] = []  # (room left, pieces)
    for piece in pieces:
        size = len(piece) - 1
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
