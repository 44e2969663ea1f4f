"""From windows to the tensors that training steps see."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from model.tokenizer import ASSISTANT, SPECIALS, UNKNOWN, USER
from train.plan import Window

IGNORE = -100  # targets that the loss leaves out


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


def micro_batches(windows: list[Window], size: int) -> list[list[Window]]:
    """Part the windows of a step into batches of at most `size`, whose gradients add up."""
    return [windows[i : i + size] for i in range(0, len(windows), size)]
