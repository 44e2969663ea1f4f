"""What a run sets out with, and the trainer that it makes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from model.checkpoint import misfit
from model.config import ModelConfig
from train.arguments import TrainingArguments
from train.data import Data
from train.encoded import EncodedDocuments
from train.loop import Position, Trainer, TrainingError
from train.parent import Parent
from train.plan import covered_positions
from train.state import TrainingState


@dataclass(frozen=True)
class Beginning:
    """What a run sets out with: nothing but a configuration, a parent's weights, or a state to go on from.

    `origin` tells where the weights come from that the run began with (Parent.origin).
    """

    config: ModelConfig
    weights: dict[str, Tensor] | None = None
    origin: dict[str, Any] | None = None
    state: TrainingState | None = None

    @classmethod
    def of(cls, arguments: TrainingArguments, data: Data, parent: Parent | None) -> Beginning:
        """Return the beginning of a new run."""
        if parent is None:
            return cls(model_config(arguments, data.tokenizer.vocab_size, data.train))
        config = replace(parent.config, dropout=arguments.dropout)
        return cls(config, parent.weights, parent.origin)


def make_trainer(arguments: TrainingArguments, documents: EncodedDocuments, beginning: Beginning) -> Trainer:
    """Return a trainer at the run's beginning, or where its state left off. Raises TrainingError."""
    trainer = Trainer(arguments, beginning.config, documents)
    state = beginning.state
    if beginning.weights:
        trainer.model.load_state_dict(beginning.weights)
    if state:
        try:
            trainer.model.load_state_dict(state.weights)
            if state.optimizer:  # a finished run has left none
                trainer.optimizer.load_state_dict(state.optimizer)
        except (RuntimeError, ValueError, KeyError) as error:
            raise TrainingError(f"the state is that of another network: {misfit(error)}") from error
        trainer.position, trainer.first_epoch = Position(state.epoch, state.batch), state.first_epoch
    return trainer


def model_config(arguments: TrainingArguments, vocab_size: int, documents: EncodedDocuments) -> ModelConfig:
    """Return the network's configuration: it has the positions that training covers, no more."""
    covered = covered_positions(documents, length=arguments.seq_length, join=arguments.join)
    return ModelConfig(
        vocab_size=vocab_size,
        embed_dim=arguments.embed_dim,
        num_heads=arguments.num_heads,
        num_layers=arguments.num_layers,
        num_neurons=arguments.num_neurons,
        num_steps=arguments.num_steps,
        attention_blend=arguments.attention_blend,
        context_length=max(covered, 2),
        dropout=arguments.dropout,
        rotary=arguments.rotary,
        tied=arguments.tied,
    )
