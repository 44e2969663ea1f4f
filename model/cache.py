"""The key/value cache: fixed slots, allocated once, one sequence a slot."""

from __future__ import annotations

import torch
from torch import Tensor

from model.config import ModelConfig


class KeyValueCache:
    """Keys and values of past positions, each of shape (layers, slots, heads, context, head_dim).

    A slot needs no clearing between two sequences: a position is read only after it was written, because
    attention masks every position beyond a row's own.
    """

    def __init__(self, config: ModelConfig, num_slots: int, device: torch.device | str = "cpu") -> None:
        shape = (config.num_layers, num_slots, config.num_heads, config.context_length, config.head_dim)
        self.keys = torch.zeros(shape, device=device)
        self.values = torch.zeros(shape, device=device)

    def rows(self, slots: Tensor) -> CacheRows:
        """Return the slots (B) as the rows of one forward pass; a slot may stand in several rows."""
        return CacheRows(self, slots)


class CacheRows:
    """Cache slots, seen as the B rows of a batch."""

    def __init__(self, cache: KeyValueCache, slots: Tensor) -> None:
        self._cache, self._slots = cache, slots

    def update(self, layer: int, key: Tensor, value: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Write key and value (B, heads, T, head_dim) at `positions` (B, T), all rows before any is read.

        Returns the layer's keys and values over the whole context, each (B, heads, context, head_dim).
        """
        keys, values = self._cache.keys[layer], self._cache.values[layer]
        slots = self._slots[:, None]
        keys[slots, :, positions] = key.transpose(1, 2)  # (B, T, heads, head_dim)
        values[slots, :, positions] = value.transpose(1, 2)
        return keys[self._slots], values[self._slots]

    def mask(self, positions: Tensor) -> Tensor:
        """Return (B, 1, T, context), true where the query at `positions` may attend."""
        context = torch.arange(self._cache.keys.shape[3], device=positions.device)
        return context <= positions[:, None, :, None]
