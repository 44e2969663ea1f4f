"""Early stopping: keep the best weights, and end a run that no longer finds better ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from train.text_quality import TextQuality


@dataclass(frozen=True)
class Kept:
    """Weights with what was measured on them, after `epochs_done` epochs."""

    epochs_done: float
    metrics: dict[str, Any]
    weights: dict[str, Tensor]


def judge(bits_per_char: float, written: TextQuality, held_out: TextQuality) -> float:
    """Return how bad a model is: its held-out bits per character, plus what its own text lacks.

    The text is compared with held-out text, so a corpus that repeats itself is not held against the model.
    Text that only repeats itself, or consists of broken characters only, counts like one bit per character
    more; text that is as sound as the held-out text counts nothing, however good.
    """
    repeated = max(written.repetition - held_out.repetition, 0.0)
    broken = max(held_out.validity - written.validity, 0.0)
    return bits_per_char + repeated + broken


class EarlyStopping:
    """Watches the evaluations of a run; with `patience` 0 it does nothing."""

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.best: Kept | None = None
        self._best_score = 0.0
        self._num_worse = 0

    @property
    def is_over(self) -> bool:
        """Whether the last `patience` evaluations in a row were no better than the best before them."""
        return 0 < self.patience <= self._num_worse

    def note(self, score: float, candidate: Kept) -> None:
        """Take up an evaluation, the lower its score the better; the weights are copied if they are kept."""
        if self.best is not None and score >= self._best_score:
            self._num_worse += 1
            return
        weights = {name: tensor.detach().clone() for name, tensor in candidate.weights.items()}
        self.best = Kept(candidate.epochs_done, dict(candidate.metrics), weights)
        self._best_score, self._num_worse = score, 0

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        best = None if self.best is None else vars(self.best)
        return {"best": best, "best_score": self._best_score, "num_worse": self._num_worse}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the state of an interrupted run."""
        self.best = None if state["best"] is None else Kept(**state["best"])
        self._best_score, self._num_worse = state["best_score"], state["num_worse"]
