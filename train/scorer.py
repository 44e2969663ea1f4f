"""The scores of a run: what its model makes of held-out and of training documents, in the time there is."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from model.network import NeuroQ
from train.data import Data
from train.encoded import EncodedDocument, EncodedDocuments
from train.loop import TrainingError
from train.precision import bits_per_char_by_precision
from train.score import EVERYTHING, Bounds, Score, score

_TRAIN_DOCUMENTS = 100
_HALF = 0.5  # of the time left, for one of the things still to be scored
_USELESS = 1.1  # times the bits of who knows nothing, which an untrained model has


@dataclass(frozen=True)
class LastScores:
    """What is measured once, at a run's end; `complaint` says why the model is of no use, if it is."""

    metrics: dict[str, Any]
    complaint: str | None


class Scorer:
    """Scores a model on the documents of its run. Deadlines are of time.monotonic, None: there is time.

    Where it is short, a random sample of the text is scored, and the metrics tell of how many tokens.
    """

    def __init__(self, model: NeuroQ, data: Data) -> None:
        self._model, self._data = model, data

    def validation(self, until: float | None) -> dict[str, Any]:
        """Return the metrics of the held-out text. Raises TrainingError when they are no number."""
        documents = self._data.validation
        if not len(documents):
            return {"validation_bits_per_char": None}
        result = score(self._model, documents.by_key(), _bounds(until))
        return _metrics("validation", result, documents.num_predicted)

    def last(self, until: float | None) -> LastScores:
        """Return the metrics of a sample of the training text, and of each precision of serving."""
        first, num_tokens = _first(self._data.train)
        result = score(self._model, first, _bounds(until))
        metrics = _metrics("train", result, num_tokens)
        by_precision = bits_per_char_by_precision(self._model, self._data.validation, until)
        guess = result.guess(self._data.tokenizer.vocab_size)
        return LastScores(
            {**metrics, "bits_per_char_by_precision": by_precision}, _complaint(result.bits_per_char, guess)
        )


def is_useless(bits: float, guess: float) -> bool:
    """Whether a model does worse than the guess of who knows nothing: it has learned what is wrong."""
    return not bits <= _USELESS * guess


def describe(metrics: Mapping[str, Any]) -> str:
    """Return the scores as one line."""
    scores = [text for name in ("train", "validation") if (text := _described(name, metrics))]
    line = f"bits per character: {', '.join(scores) or 'no text is held out'}"
    if "text_repetition" in metrics:
        line += f"; text: {metrics['text_repetition']:.0%} repeated"
        line += f", {1 - metrics['text_validity']:.0%} broken characters"
    return line


def share_text(part: str, metrics: Mapping[str, Any]) -> str:
    """Return "scored on 120,000 of 1,000,000 tokens" for a part of the text, nothing when all were scored."""
    tokens = metrics.get(f"{part}_scored_tokens")
    return f"scored on {tokens[0]:,} of {tokens[1]:,} tokens" if tokens else ""


def _described(name: str, metrics: Mapping[str, Any]) -> str:
    value, share = metrics.get(f"{name}_bits_per_char"), share_text(name, metrics)
    return "" if value is None else f"{name} {value:.3f}" + (f" ({share})" if share else "")


def _metrics(part: str, result: Score, num_tokens: int) -> dict[str, Any]:
    value = result.bits_per_char
    if not math.isfinite(value):
        raise TrainingError(f"the model has become useless, {value} bits per character: try a lower --lr")
    metrics: dict[str, Any] = {f"{part}_bits_per_char": round(value, 4)}
    if result.num_tokens < num_tokens:
        metrics[f"{part}_scored_tokens"] = [result.num_tokens, num_tokens]
    return metrics


def _complaint(bits: float, guess: float) -> str | None:
    if not is_useless(bits, guess):
        return None
    return (
        f"the model has become useless, {bits:,.1f} bits per character of its own training text where a "
        f"blind guess has {guess:.1f}: try a lower --lr"
    )


def _first(documents: EncodedDocuments) -> tuple[Iterator[EncodedDocument], int]:
    """Return the documents of the lowest keys, and how many of their tokens are predicted."""
    num_tokens = sum(int(length) - 1 for length in documents.lengths_by_key[:_TRAIN_DOCUMENTS])
    return islice(documents.by_key(), _TRAIN_DOCUMENTS), num_tokens


def _bounds(until: float | None) -> Bounds:
    """Return half of the time there is; the rest is for what is scored after it."""
    now = time.monotonic()
    return EVERYTHING if until is None else Bounds(until=now + _HALF * max(until - now, 0.0))
