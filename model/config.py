"""Sizes and constants of a NeuroQ network; the defaults are the seed's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

# field -> (lowest, highest) allowed value
_RANGES: dict[str, tuple[float, float]] = {
    "vocab_size": (8, 1_000_000),
    "embed_dim": (1, 65_536),
    "num_heads": (1, 1_024),
    "num_layers": (1, 1_024),
    "num_neurons": (1, 65_536),
    "context_length": (2, 1_048_576),
    "num_steps": (1, 64),
    "dropout": (0.0, 0.99),
    "attention_density": (0.0, 1.0),
    "mlp_density": (0.0, 1.0),
    "attention_lambda": (-10.0, 10.0),
    "mlp_lambda": (-10.0, 10.0),
    "attention_blend": (0.0, 10.0),
    "mlp_blend": (0.0, 10.0),
    "qbnn_blend": (0.0, 10.0),
}


@dataclass(frozen=True)
class ModelConfig:
    """Everything that fixes a network's shape and constants.

    `context_length` is the number of positions that training covered; the network has no others, so no
    reply can ever use a position that was not trained. `rotary` turns queries and keys by their position
    (RoPE) instead of adding a learned vector for each position, as the original did. `tied` makes the token
    embedding the output head, too.
    """

    vocab_size: int = 8000
    embed_dim: int = 128
    num_heads: int = 4
    num_layers: int = 3
    num_neurons: int = 100
    context_length: int = 256
    dropout: float = 0.1
    num_steps: int = 2
    rotary: bool = True
    tied: bool = False
    attention_density: float = 0.20
    attention_lambda: float = 0.30
    mlp_density: float = 0.25
    mlp_lambda: float = 0.35
    attention_blend: float = 0.1
    mlp_blend: float = 0.7
    qbnn_blend: float = 0.3

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            whole = isinstance(getattr(type(self), name), int)
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
                raise ValueError(f"{name} must be {'an integer' if whole else 'a number'}, got {value!r}")
            if not low <= value <= high:
                raise ValueError(f"{name} must be between {low} and {high}, got {value}")
        for name in ("rotary", "tied"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be true or false, got {getattr(self, name)!r}")
        if self.embed_dim % self.num_heads:
            raise ValueError(
                f"embed_dim must be a multiple of num_heads, got {self.embed_dim} and {self.num_heads}"
            )
        if self.rotary and self.head_dim % 2:
            raise ValueError(f"rotary needs an even head size, got {self.head_dim}")

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.embed_dim // self.num_heads

    def to_dict(self) -> dict[str, Any]:
        """Return a plain dictionary that `from_dict` reads back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """Read a dictionary; an unknown name is an error that names it (ValueError)."""
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(f"unknown configuration: {', '.join(unknown)}")
        return cls(**values)
