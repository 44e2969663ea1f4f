"""The state of a run that can go on: weights, optimiser, place in the data, tokenizer, history."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.checkpoint import CheckpointError, read_tensors, tensor_writer
from model.config import ModelConfig
from model.files import replace_files
from train.arguments import TrainingArguments
from train.history import History

_VERSION = 4


@dataclass(frozen=True)
class TrainingState:
    """Written beside the checkpoint: before the first step, after each epoch, once a minute, and at the end.

    So a run can be killed at any moment, and goes on from what was written last.
    """

    arguments: TrainingArguments
    config: ModelConfig
    origin: dict[str, Any] | None  # of the parent, if the run began from one
    data_fingerprint: str
    tokenizer_model: bytes
    epoch: int
    batch: int
    weights: dict[str, Tensor]
    optimizer: dict[str, Any]
    seconds: float
    first_step: float  # seconds from the run's beginning to its first step
    history: History
    metrics: dict[str, Any]
    early_stopping: dict[str, Any]
    first_epoch: int = 0  # where the schedule begins: where a finished run ended that was given more epochs

    def save(self, path: Path) -> None:
        """Replace the file. Raises OSError."""
        tokenizer = torch.frombuffer(bytearray(self.tokenizer_model), dtype=torch.uint8)
        values = {**self.__dict__, "arguments": self.arguments.to_dict(), "tokenizer_model": tokenizer}
        values |= {"config": self.config.to_dict(), "history": self.history.to_dict()}
        replace_files({path: tensor_writer({"state_version": _VERSION, **values})})

    @classmethod
    def load(cls, path: Path) -> TrainingState:
        """Read the file. Raises CheckpointError with the reason."""
        values = read_tensors(path)
        if values.pop("state_version", None) != _VERSION:
            raise CheckpointError(f"{path} is not the state of a NeuroQ training run of this version")
        try:
            values["arguments"] = TrainingArguments.from_dict(values["arguments"])
            values["config"] = ModelConfig.from_dict(values["config"])
            values["tokenizer_model"] = values["tokenizer_model"].numpy().tobytes()
            values["history"] = History.from_dict(values["history"])
            return cls(**values)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"{path} is not a whole training state: {error}") from error


def state_path(checkpoint_path: Path) -> Path:
    """Return where the state of a checkpoint's run lies: beside it."""
    return checkpoint_path.with_suffix(".state.pt")
