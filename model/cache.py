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

    @property
    def num_slots(self) -> int:
        """How many sequences the cache can hold."""
        return self.keys.shape[1]

    def rows(self, first: int, last: int) -> CacheRows:
        """Return slots first..last-1 as the rows of one forward pass; writes go to this cache."""
        return CacheRows(self.keys[:, first:last], self.values[:, first:last])


class CacheRows:
    """A run of cache slots, seen as the B rows of a batch."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self._keys, self._values = keys, values
        self._row = torch.arange(keys.shape[1], device=keys.device)[:, None]  # (B, 1)

    def update(self, layer: int, key: Tensor, value: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Write key and value (B, heads, T, head_dim) at `positions` (B, T).

        Returns the layer's keys and values over the whole context, each (B, heads, context, head_dim).
        """
        keys, values = self._keys[layer], self._values[layer]
        keys[self._row, :, positions] = key.transpose(1, 2)  # (B, T, heads, head_dim)
        values[self._row, :, positions] = value.transpose(1, 2)
        return keys, values

    def mask(self, positions: Tensor) -> Tensor:
        """Return (B, 1, T, context), true where the query at `positions` may attend."""
        context = torch.arange(self._keys.shape[3], device=positions.device)
        return context <= positions[:, None, :, None]
