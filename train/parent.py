"""The checkpoint that a run starts from (--init_from): its weights, tokenizer and configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from model.checkpoint import file_sha256
from model.config import ModelConfig
from model.tokenizer import Tokenizer
from train.remote import open_checkpoint

# The arguments that a configuration fixes, which are called the same there.
SHAPE = (
    "vocab_size", "embed_dim", "num_heads", "num_layers", "num_neurons", "num_steps", "attention_blend",
    "rotary", "tied",
)  # fmt: skip


@dataclass(frozen=True)
class Parent:
    """`origin` is what the lineage of a run tells of it: place, digest and data."""

    config: ModelConfig
    weights: dict[str, Tensor]
    tokenizer: Tokenizer
    origin: dict[str, Any]

    @classmethod
    def open(cls, place: str) -> Parent:
        """Read a checkpoint: any place that `open_checkpoint` knows.

        Raises CheckpointError, TokenizerError, StorageError, ValueError.
        """
        opened = open_checkpoint(place)
        checkpoint = opened.checkpoint
        network = checkpoint.build()  # its tensors fit its configuration
        origin = {
            "place": place,
            "sha256": file_sha256(opened.path),
            "data": checkpoint.lineage.get("data"),
            "init_from": checkpoint.lineage.get("init_from"),
        }
        return cls(checkpoint.config, network.state_dict(), opened.tokenizer, origin)

    def arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the training arguments that this parent fixes.

        Raises ValueError for one that was given otherwise, and names it.
        """
        fixed = {name: getattr(self.config, name) for name in SHAPE}
        for name, value in fixed.items():
            if given.get(name, value) != value:
                raise ValueError(f"{name} is {value} in the checkpoint to start from, not {given[name]}")
        if given.get("tokenizer_path"):
            raise ValueError("tokenizer_path cannot be given: the checkpoint to start from has its tokenizer")
        context = self.config.context_length
        if given.get("seq_length", 0) > context:
            raise ValueError(
                f"seq_length must be at most {context}, the context of the checkpoint to start from, "
                f"got {given['seq_length']}"
            )
        return fixed if "seq_length" in given else {**fixed, "seq_length": context}
