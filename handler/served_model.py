"""The model that a worker serves: what the archive holds, loaded and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from handler.generation import Prompt
from model.checkpoint import CHECKPOINT_NAME, TOKENIZER_NAME, Checkpoint, file_sha256
from model.dialogue import Style, Turn, encode_prompt
from model.network import NeuroQ
from model.tokenizer import Tokenizer


@dataclass(frozen=True)
class ServedModel:
    """A network with its tokenizer and everything that `status` tells of it."""

    name: str
    version: str
    device: torch.device
    network: NeuroQ
    tokenizer: Tokenizer
    lineage: dict[str, Any]
    checkpoint_sha256: str

    @classmethod
    def load(cls, folder: Path, *, name: str, version: str, device: torch.device) -> ServedModel:
        """Load checkpoint and tokenizer from an unpacked archive.

        Raises CheckpointError or TokenizerError when one is missing or they do not belong together.
        """
        checkpoint = Checkpoint.load(folder / CHECKPOINT_NAME)
        tokenizer = Tokenizer.load(folder / TOKENIZER_NAME)
        checkpoint.check_tokenizer(tokenizer)
        digest = file_sha256(folder / CHECKPOINT_NAME)
        return cls(name, version, device, checkpoint.build().freeze(), tokenizer, checkpoint.lineage, digest)

    @property
    def style(self) -> Style:
        """Whether the model answers dialogue turns or goes on with text."""
        return "text" if self.lineage.get("style") == "text" else "dialogue"

    @property
    def precision_scores(self) -> dict[str, float]:
        """Bits per character on held-out text by precision, as far as training measured them."""
        scores: dict[str, float] = self.lineage.get("metrics", {}).get("bits_per_char_by_precision") or {}
        return scores

    def encode(self, prompt: Prompt, history: list[Turn], max_new_tokens: int) -> list[int]:
        """Return the ids that a reply goes on with; up to half of the context is kept free for it."""
        context = self.network.config.context_length
        return encode_prompt(
            self.tokenizer,
            [*history, *prompt.history],
            prompt.text,
            style=self.style,
            max_tokens=context - min(max_new_tokens, context // 2),
        )

    def description(self) -> dict[str, Any]:
        """What `status` says that never changes."""
        config = self.network.config
        metrics = self.lineage.get("metrics", {})
        return {
            "model_name": self.name,
            "model_version": self.version,
            "device": str(self.device),
            "vocab_size": config.vocab_size,
            "context_length": config.context_length,
            "num_parameters": self.network.num_parameters,
            "config": config.to_dict(),
            "style": self.style,
            "checkpoint_sha256": self.checkpoint_sha256,
            "tokenizer_sha256": self.tokenizer.sha256,
            "trained_at": self.lineage.get("trained_at"),
            "trained_on": self.lineage.get("data"),
            "code_version": self.lineage.get("code_version"),
            "validation_bits_per_char": metrics.get("validation_bits_per_char"),
        }
