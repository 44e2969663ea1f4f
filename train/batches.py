"""Packing documents into the windows that training steps see."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

IGNORE = -100  # targets that the loss leaves out
_OPEN_WINDOWS = 32


@dataclass(frozen=True)
class Batch:
    """B windows of T positions."""

    inputs: Tensor  # (B, T) token ids
    targets: Tensor  # (B, T) token ids, IGNORE where there is nothing to predict
    mask: Tensor  # (B, 1, T, T) true where a query may attend: earlier, and in the same document

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        return Batch(self.inputs.to(device), self.targets.to(device), self.mask.to(device))


def cut(documents: list[np.ndarray], length: int) -> list[np.ndarray]:
    """Cut encoded documents into pieces of at most length + 1 ids that overlap by one.

    So every id but a document's first is predicted exactly once.
    """
    return [ids[i : i + length + 1] for ids in documents for i in range(0, len(ids) - 1, length)]


def epoch_batches(
    pieces: list[np.ndarray], *, length: int, batch_size: int, rng: random.Random
) -> list[list[list[np.ndarray]]]:
    """Shuffle, pack whole pieces into windows of `length` positions, and group windows into batches.

    Returns batches of windows of pieces; `collate` makes tensors of one batch. The last batch may be smaller.
    """
    order = pieces[:]
    rng.shuffle(order)
    windows = list(_pack(order, length))
    rng.shuffle(windows)
    return [windows[i : i + batch_size] for i in range(0, len(windows), batch_size)]


def _pack(pieces: list[np.ndarray], length: int) -> Iterator[list[np.ndarray]]:
    """Put each piece into the fullest open window that still has room for it."""
    open_windows: list[tuple[int, list[np.ndarray]]] = []
    for piece in pieces:
        size = len(piece) - 1
        fitting = [i for i, (room, _) in enumerate(open_windows) if room >= size]
        if fitting:
            best = min(fitting, key=lambda i: open_windows[i][0])
            room, window = open_windows[best]
            window.append(piece)
            open_windows[best] = (room - size, window)
        else:
            open_windows.append((length - size, [piece]))
        if len(open_windows) > _OPEN_WINDOWS:
            fullest = min(range(len(open_windows)), key=lambda i: open_windows[i][0])
            yield open_windows.pop(fullest)[1]
    yield from (window for _, window in open_windows)


def collate(windows: list[list[np.ndarray]], *, length: int) -> Batch:
    """Return the tensors of one batch; positions run through a window, attention stays in its document."""
    inputs = torch.zeros(len(windows), length, dtype=torch.long)
    targets = torch.full((len(windows), length), IGNORE)
    owner = torch.full((len(windows), length), -1)
    for row, window in enumerate(windows):
        start = 0
        for number, piece in enumerate(window):
            end = start + len(piece) - 1
            ids = torch.from_numpy(piece)
            inputs[row, start:end], targets[row, start:end], owner[row, start:end] = ids[:-1], ids[1:], number
            start = end
    same = owner[:, :, None] == owner[:, None, :]  # (B, T, T)
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    return Batch(inputs, targets, (same & causal)[:, None])
