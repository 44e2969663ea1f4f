"""The NeuroQ network: a pre-norm GPT whose attention and feed-forward paths carry QBNN layers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import apqb
from model.cache import CacheRows
from model.config import ModelConfig
from model.qbnn import QBNN

# |r| and T at 2θ = 45°: the band that the quantum temperature and fluctuation are clamped to.
_BAND = 0.707


class Rotary(nn.Module):
    """RoPE (Su et al. 2021): turn each pair of a head's values by an angle that grows with the position."""

    cosines: Tensor
    sines: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        half = config.head_dim // 2
        frequencies = 10_000.0 ** (-torch.arange(half) / half)
        angles = torch.outer(torch.arange(config.context_length), frequencies)  # (context, half)
        self.register_buffer("cosines", angles.cos(), persistent=False)
        self.register_buffer("sines", angles.sin(), persistent=False)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        """x (B, h, T, hd), positions (B, T) -> (B, h, T, hd)."""
        cosines, sines = self.cosines[positions][:, None], self.sines[positions][:, None]  # (B, 1, T, half)
        a, b = x.chunk(2, dim=-1)
        return torch.cat([a * cosines - b * sines, a * sines + b * cosines], dim=-1).to(x.dtype)


class Attention(nn.Module):
    """Causal self-attention whose queries and keys pass through one shared QBNN layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.blend = config.attention_blend
        self.qkv = nn.Linear(config.embed_dim, 3 * config.embed_dim)
        self.out = nn.Linear(config.embed_dim, config.embed_dim)
        self.rotary = Rotary(config) if config.rotary else None
        self.qbnn = QBNN(
            config.embed_dim,
            config.num_neurons,
            density=config.attention_density,
            entanglement=config.attention_lambda,
            num_steps=config.num_steps,
        )

    def forward(
        self, x: Tensor, mask: Tensor, positions: Tensor, layer: int, cache: CacheRows | None
    ) -> Tensor:
        """x (B, T, d), mask (B, 1, T, S) -> (B, T, d), S being T or, with a cache, the context."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q = q + self.blend * self.qbnn(q)
        k = k + self.blend * self.qbnn(k)
        q, k, v = (t.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for t in (q, k, v))  # (B, h, T, hd)
        if self.rotary is not None:
            q, k = self.rotary(q, positions), self.rotary(k, positions)
        if cache is not None:
            k, v = cache.update(layer, k, v, positions)  # (B, h, S, hd)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out: Tensor = self.out(y.transpose(1, 2).flatten(2))  # (B, T, d)
        return out


class Block(nn.Module):
    """x += attention(LN1 x); x += 0.7 · MLP(LN2 x) + 0.3 · QBNN(LN2 x)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.embed_dim
        self.mlp_blend, self.qbnn_blend = config.mlp_blend, config.qbnn_blend
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(config)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.qbnn = QBNN(
            width,
            2 * config.num_neurons,
            density=config.mlp_density,
            entanglement=config.mlp_lambda,
            num_steps=config.num_steps,
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Tensor, mask: Tensor, positions: Tensor, layer: int, cache: CacheRows | None
    ) -> Tensor:
        """x (B, T, d) -> (B, T, d)."""
        x = x + self.dropout(self.attention(self.norm1(x), mask, positions, layer, cache))
        h = self.norm2(x)
        y: Tensor = x + self.dropout(self.mlp_blend * self.mlp(h) + self.qbnn_blend * self.qbnn(h))
        return y


class NeuroQ(nn.Module):
    """The language model: token ids in, next-token logits out."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.embed_dim)
        self.position_embedding = (
            None if config.rotary else nn.Embedding(config.context_length, config.embed_dim)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.embed_dim)
        self.head = nn.Linear(config.embed_dim, config.vocab_size, bias=False)
        if config.tied:
            self.head.weight = self.token_embedding.weight
        self._mean_correlation: float | None = None  # known once the network is frozen
        self.apply(initialise)

    def forward(
        self,
        ids: Tensor,
        positions: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        cache: CacheRows | None = None,
    ) -> Tensor:
        """Return logits (B, T, vocab_size) for token ids (B, T).

        `positions` (B, T) default to 0..T-1. `mask` (B, 1, T, T) is true where a query may attend and
        defaults to the causal mask. With `cache`, keys and values are written at `positions` and
        attention runs over the cached context; `mask` is then the cache's own.
        """
        if positions is None:
            positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        if cache is not None:
            mask = cache.mask(positions)
        elif mask is None:
            mask = positions[:, None, :, None] >= positions[:, None, None, :]
        x = self.token_embedding(ids)
        if self.position_embedding is not None:
            x = x + self.position_embedding(positions)
        x = self.dropout(x)
        for layer, block in enumerate(self.blocks):
            x = block(x, mask, positions, layer, cache)
        logits: Tensor = self.head(self.norm(x))
        return logits

    def freeze(self) -> NeuroQ:
        """Turn into an inference model for good: no gradients, no noise, constants computed once."""
        self.eval().requires_grad_(False)
        self._mean_correlation = self.mean_correlation()
        for module in self.modules():
            if isinstance(module, QBNN):
                module.fold()
        return self

    @property
    def num_parameters(self) -> int:
        """Number of learnable values."""
        return sum(parameter.numel() for parameter in self.parameters())

    @torch.no_grad()
    def mean_correlation(self) -> float:
        """Return r̄, the mean over blocks of the feed-forward QBNN's mean r, clamped to ±0.707."""
        means = torch.stack([apqb.correlation(block.qbnn.theta).mean() for block in self._blocks()])
        return means.mean().clamp(-_BAND, _BAND).item()

    def quantum_temperature(self, temp_min: float, temp_max: float) -> float:
        """Return the sampling temperature that the mean correlation r̄ picks between the two bounds.

        temperature = temp_min + (r̄ + 0.707) / 1.414 · (temp_max - temp_min), r̄ clamped to ±0.707.
        """
        r = self._mean_correlation if self._mean_correlation is not None else self.mean_correlation()
        return temp_min + (r + _BAND) / (2 * _BAND) * (temp_max - temp_min)

    @torch.no_grad()
    def quantum_fluctuation(self) -> float:
        """Return mean T of the last feed-forward QBNN, clamped to [0.707, 1]."""
        theta = self._blocks()[-1].qbnn.theta
        return apqb.temperature(theta).mean().clamp(_BAND, 1.0).item()

    def _blocks(self) -> list[Block]:
        return [block for block in self.blocks if isinstance(block, Block)]


def initialise(module: nn.Module) -> None:
    """N(0, 0.02) for projections and embeddings, zero bias, as in the original."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
