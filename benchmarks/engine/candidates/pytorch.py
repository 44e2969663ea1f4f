"""NeuroQ's layers in plain PyTorch with a static cache, all rows in step; eager or through torch.compile."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.anchors import SIZE
from benchmarks.engine.candidates.neuroq import random_network
from benchmarks.engine.draw import draw
from benchmarks.engine.workload import Generate, prompts
from model.cache import CacheRows
from model.network import NeuroQ


class _StaticCache(CacheRows):
    """Each layer's keys and values (B, heads, context, head_dim), read up to `end`."""

    def __init__(self, batch_size: int) -> None:
        shape = (batch_size, SIZE.num_heads, SIZE.context_length, SIZE.head_dim)
        self.keys = [torch.zeros(shape) for _ in range(SIZE.num_layers)]
        self.values = [torch.zeros(shape) for _ in range(SIZE.num_layers)]
        self.end = SIZE.context_length

    def update(self, layer: int, key: Tensor, value: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        keys = self.keys[layer].index_copy_(2, positions[0], key)
        values = self.values[layer].index_copy_(2, positions[0], value)
        return keys[:, :, : self.end], values[:, :, : self.end]

    def mask(self, positions: Tensor) -> Tensor:
        return torch.arange(self.end) <= positions[:, None, :, None]


class _Step(nn.Module):
    """Ids (B, T) at positions (1, T) -> next ids (B, 1)."""

    def __init__(self, network: NeuroQ) -> None:
        super().__init__()
        self.network = network.freeze()

    def forward(self, ids: Tensor, positions: Tensor, uniform: Tensor, cache: _StaticCache) -> Tensor:
        return draw(self.network(ids, positions, cache=cache)[:, -1], uniform)


_Forward = Callable[[Tensor, Tensor, Tensor, _StaticCache], Tensor]


def open_engine(batch_size: int, variant: str) -> Generate:
    """Variant: eager, which attends to what there is; compiled, whose shapes never change."""
    torch.set_num_threads(1)
    cache, forward = _StaticCache(batch_size), _Step(random_network())
    step: _Forward = _compiled(forward) if variant == "compiled" else forward

    @torch.no_grad()
    def generate(new_tokens: int) -> int:
        ids = torch.tensor(prompts(batch_size))
        position = 0
        run: _Forward = forward
        for uniform in torch.rand(new_tokens, batch_size, 1):
            end = position + ids.shape[1]
            if variant == "eager":
                cache.end = end
            ids = run(ids, torch.arange(position, end)[None], uniform, cache)
            position, run = end, step  # the prompt's pass is never compiled: its shape is another
        return batch_size * new_tokens

    return generate


def _compiled(step: _Step) -> _Forward:
    """Compile with what made most of it at this size: weights as constants, no Python between the kernels."""
    from torch._inductor import config  # noqa: PLC0415 - loads a compiler, for this variant only

    config.freezing = config.cpp_wrapper = True
    return torch.compile(step, mode="max-autotune", dynamic=False)
