"""Bits per character: how well a model predicts text, comparable between tokenizers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F

from model.decoder import Decoder
from model.network import NeuroQ
from train.batches import IGNORE
from train.encoded import EncodedDocument

WINDOWS_PER_BATCH = 16
_DOCUMENTS_HELD = 8192  # whose windows are sorted by length, and in memory, at a time
_Window = tuple[np.ndarray, int]  # ids of a window and the one after it, leading targets scored already
_Nats = Callable[[list[_Window]], float]


@dataclass(frozen=True)
class Score:
    """Negative log-likelihood of documents, in bits, and what it is counted on."""

    bits: float
    num_characters: int
    num_tokens: int

    @property
    def bits_per_char(self) -> float:
        """Bits / characters; role markers count 0 characters, line breaks and document ends 1 each."""
        return self.bits / self.num_characters


def score(model: NeuroQ, documents: Iterable[EncodedDocument]) -> Score:
    """Score each token of each document once, markers and end included.

    A long document is read in windows of the model's context, half a window apart, so that every token
    but those of the first window has at least half a context before it. The model is left in its mode.
    """
    was_training = model.training
    model.eval()
    result = _score(partial(_network_nats, model), model.config.context_length, documents)
    model.train(was_training)
    return result


def score_decoder(decoder: Decoder, documents: Iterable[EncodedDocument]) -> Score:
    """Score documents as `score` does, by the arithmetic that serves them."""
    return _score(partial(_decoder_nats, decoder), decoder.context_length, documents)


def _score(nats: _Nats, context_length: int, documents: Iterable[EncodedDocument]) -> Score:
    total, num_characters, num_tokens = 0.0, 0, 0
    rest = iter(documents)
    while held := list(islice(rest, _DOCUMENTS_HELD)):
        windows = sorted((w for d in held for w in _windows(d.ids, context_length)), key=_length)
        batches = [windows[i : i + WINDOWS_PER_BATCH] for i in range(0, len(windows), WINDOWS_PER_BATCH)]
        total += sum(map(nats, batches))
        num_characters += sum(document.num_characters for document in held)
        num_tokens += sum(len(document.ids) - 1 for document in held)
    return Score(total / math.log(2), num_characters, num_tokens)


def _windows(ids: np.ndarray, length: int) -> list[_Window]:
    windows = [(ids[: length + 1], 0)]
    stride = max(length // 2, 1)
    start = stride
    while start - stride + length < len(ids) - 1:
        windows.append((ids[start : start + length + 1], length - stride))
        start += stride
    return windows


def _length(window: _Window) -> int:
    return len(window[0])


@torch.no_grad()
def _network_nats(model: NeuroQ, windows: list[_Window]) -> float:
    width = max(map(_length, windows)) - 1
    inputs = torch.zeros(len(windows), width, dtype=torch.long)
    targets = torch.full((len(windows), width), IGNORE)
    for row, (ids, skip) in enumerate(windows):
        window = torch.from_numpy(ids)
        inputs[row, : len(ids) - 1] = window[:-1]
        targets[row, skip : len(ids) - 1] = window[skip + 1 :]
    device = model.head.weight.device
    logits = model(inputs.to(device)).float()  # (B, T, V)
    loss = F.cross_entropy(
        logits.flatten(0, 1), targets.to(device).flatten(), ignore_index=IGNORE, reduction="sum"
    )
    return loss.item()


def _decoder_nats(decoder: Decoder, windows: list[_Window]) -> float:
    nats = 0.0
    for ids, skip in windows:
        logits = decoder.logits(ids[:-1].tolist())[skip:]  # (T, V)
        nats += F.cross_entropy(logits, torch.from_numpy(ids[skip + 1 :]).long(), reduction="sum").item()
    return nats
