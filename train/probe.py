"""A few steps of training on random ids, measured: what a step of a run will cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from model.config import ModelConfig
from model.tokenizer import SPECIALS
from train.arguments import TrainingArguments
from train.encoded import EncodedDocument, EncodedDocuments
from train.loop import StepReport, Trainer
from train.processes import flat

_TOKENS = 1024  # of a step of the probe, or one window
_PATIENCE = 5.0  # seconds, after which the probe does no further step


@dataclass(frozen=True)
class Cost:
    """Of one process: seconds a step, seconds more for each window, bytes held for each window."""

    num_parameters: int
    seconds_per_step: float
    seconds_per_window: float
    bytes_per_window: float


class _Imagined:
    """The group of a run as its first process sees it, without the others."""

    rank = 0

    def __init__(self, size: int) -> None:
        self.size = size

    def sum(self, parts: Sequence[Tensor]) -> Tensor:
        """Return the parts in one flat tensor: nobody has anything to add."""
        return flat(parts)


def measure(arguments: TrainingArguments, config: ModelConfig) -> Cost:
    """Take some steps with a network that is thrown away: a full batch twice, then one window."""
    windows = max(1, min(-(-arguments.batch_size // arguments.processes), _TOKENS // arguments.seq_length))
    size = arguments.processes
    steps = replace(arguments, batch_size=size * windows, gradient_accumulation_steps=1, epochs=1, join=0.0)
    trainer = Trainer(steps, config, _documents(size * (2 * windows + 1), arguments.seq_length, config))
    held = _Held(trainer)
    reports: list[StepReport] = []
    with saved_tensors_hooks(held.note, lambda tensor: tensor):
        for report in trainer.run(_Imagined(size)):
            held.close()
            reports.append(report)
            if sum(report.seconds for report in reports) > _PATIENCE:
                break
    return Cost(
        trainer.model.num_parameters,
        *_fit([report.seconds for report in reports], windows),
        held.num_bytes / windows,
    )


def _documents(num_windows: int, seq_length: int, config: ModelConfig) -> EncodedDocuments:
    """Return documents of random ids that fill so many windows."""
    count, length = num_windows * (seq_length // config.context_length), config.context_length + 1
    ids = np.random.default_rng(0).integers(len(SPECIALS), config.vocab_size, (count, length))
    return EncodedDocuments.of(EncodedDocument(row, False, 0, 0) for row in ids)


def _fit(seconds: list[float], windows: int) -> tuple[float, float]:
    """Return seconds for a step and for each window of it; the first step warms up."""
    if len(seconds) < 3 or windows == 1:
        return 0.0, seconds[-1] / windows
    _, full, single = seconds
    per_window = max(full - single, 0.0) / (windows - 1)
    return max(single - per_window, 0.0), per_window


class _Held:
    """Counts the bytes that the first forward pass leaves for the backward pass."""

    def __init__(self, trainer: Trainer) -> None:
        weights = (*trainer.model.parameters(), *trainer.model.buffers())
        self._seen = {weight.untyped_storage().data_ptr() for weight in weights}
        self._sizes: list[int] = []
        self._is_open = True

    def note(self, tensor: Tensor) -> Tensor:
        """Count a tensor that is held, once, and leave it as it is."""
        storage = tensor.untyped_storage()
        if self._is_open and storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self._sizes.append(storage.nbytes())
        return tensor

    def close(self) -> None:
        """Count no further: the next steps hold the same again."""
        self._is_open = False

    @property
    def num_bytes(self) -> int:
        """The tensors held, and the largest (the logits) twice more: the gradients while they go back."""
        return sum(self._sizes) + 2 * max(self._sizes, default=0)
