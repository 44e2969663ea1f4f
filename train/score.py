"""Bits per character: how well a model predicts text, comparable between tokenizers."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

from model.decoder import Decoder
from model.network import NeuroQ
from train.batches import IGNORE
from train.encoded import EncodedDocument

WINDOWS_PER_BATCH = 16
# What is in memory at a time, its windows sorted by length: so many documents, or so many ids and a bit.
_DOCUMENTS_HELD, _IDS_HELD = 8192, 1 << 22
_Window = tuple[np.ndarray, int]  # ids of a window and the one after it, leading targets scored already
_Batch = tuple[list[_Window], float]  # windows, and the characters that their targets stand for
_Nats = Callable[[list[_Window]], float]


@dataclass(frozen=True)
class Score:
    """Negative log-likelihood of documents, in bits, and what it is counted on."""

    bits: float
    num_characters: int
    num_tokens: int
    num_batches: int

    @property
    def bits_per_char(self) -> float:
        """Bits / characters; role markers count 0 characters, line breaks and document ends 1 each."""
        return self.bits / self.num_characters

    def guess(self, vocab_size: int) -> float:
        """Return the bits per character of who knows nothing and gives each symbol the same chance."""
        return math.log2(vocab_size) * self.num_tokens / self.num_characters


@dataclass(frozen=True)
class Bounds:
    """How much is scored: all, or until a time (time.monotonic), or so many batches; one at least."""

    until: float = math.inf
    num_batches: int | None = None

    @property
    def is_sample(self) -> bool:
        """Whether batches are drawn at random, since there may be too little time for all."""
        return self.until < math.inf or self.num_batches is not None

    def allow(self, num_done: int) -> bool:
        """Whether another batch may be scored."""
        if num_done == 0:
            return True
        return time.monotonic() < self.until and num_done != self.num_batches


EVERYTHING = Bounds()


def score(model: NeuroQ, documents: Iterable[EncodedDocument], bounds: Bounds = EVERYTHING) -> Score:
    """Score each token of each document once, markers and end included, as far as the bounds allow.

    A long document is read in windows of the model's context, half a window apart, so that every token
    but those of the first window has at least half a context before it. The model is left in its mode.
    """
    was_training = model.training
    model.eval()
    result = _score(partial(_network_nats, model), model.config.context_length, documents, bounds)
    model.train(was_training)
    return result


def score_decoder(
    decoder: Decoder, documents: Iterable[EncodedDocument], bounds: Bounds = EVERYTHING
) -> Score:
    """Score documents as `score` does, by the arithmetic that serves them."""
    return _score(partial(_decoder_nats, decoder), decoder.context_length, documents, bounds)


def _score(nats: _Nats, context_length: int, documents: Iterable[EncodedDocument], bounds: Bounds) -> Score:
    total, num_characters, num_tokens, num_batches = 0.0, 0.0, 0, 0
    for windows, characters in _batches(documents, context_length, shuffled=bounds.is_sample):
        if not bounds.allow(num_batches):
            break
        total += nats(windows)
        num_characters += characters
        num_tokens += sum(len(ids) - 1 - skip for ids, skip in windows)
        num_batches += 1
    return Score(total / math.log(2), max(round(num_characters), 1), num_tokens, num_batches)


def _batches(
    documents: Iterable[EncodedDocument], context_length: int, *, shuffled: bool
) -> Iterator[_Batch]:
    """Yield windows of similar length together; shuffled, the first ones stand for all."""
    rng = random.Random(0)
    for held in _portions(documents):
        windows = [
            (window, (len(window[0]) - 1 - window[1]) * d.num_characters / (len(d.ids) - 1))
            for d in held
            for window in _windows(d.ids, context_length)
        ]
        windows.sort(key=lambda each: len(each[0][0]))
        starts = list(range(0, len(windows), WINDOWS_PER_BATCH))
        if shuffled:
            rng.shuffle(starts)
        for start in starts:
            batch = windows[start : start + WINDOWS_PER_BATCH]
            yield [window for window, _ in batch], sum(characters for _, characters in batch)


def _portions(documents: Iterable[EncodedDocument]) -> Iterator[list[EncodedDocument]]:
    held: list[EncodedDocument] = []
    num_ids = 0
    for document in documents:
        held.append(document)
        num_ids += len(document.ids)
        if len(held) == _DOCUMENTS_HELD or num_ids > _IDS_HELD:
            yield held
            held, num_ids = [], 0
    if held:
        yield held


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
