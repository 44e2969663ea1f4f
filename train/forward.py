"""The training pass on a processor: the same loss as the network's own forward pass, in less time.

Weights are cast once, queries and keys go through their QBNN layer together, and what PyTorch takes many
passes for is one function (train/functions.py). model/network.py is the reference.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import apqb, qbnn
from model.network import Attention, Block, NeuroQ
from model.qbnn import QBNN
from train.batches import Batch
from train.functions import attention, linear_cross_entropy, recurrence
from train.noise import NoiseTable


class TrainingPass:
    """Computes the loss of a batch, activations in `dtype`."""

    def __init__(self, network: NeuroQ, dtype: torch.dtype, seed: int, most_tokens: int) -> None:
        self._network, self._dtype = network, dtype
        # Queries and keys pass through N neurons each, a feed-forward input through 2 N.
        self._noise = NoiseTable(seed, most_tokens * 2 * network.config.num_neurons)

    def loss(self, batch: Batch) -> Tensor:
        """Return the nats over all targets of a batch, a scalar."""
        network = self._network
        x = network.token_embedding(batch.inputs)  # (B, T, d)
        if network.position_embedding is not None:
            x = x + network.position_embedding(batch.positions)
        x = network.dropout(x)
        bias = self._bias(batch.mask)
        for block in network.blocks:
            assert isinstance(block, Block)
            h = self._norm(block.norm1, x)
            x = x + block.dropout(self._attention(block.attention, h, bias, batch.positions))
            h = self._norm(block.norm2, x)
            x = x + block.dropout(self._feed_forward(block, h))
        hidden = self._norm(network.norm, x).flatten(0, 1)
        return linear_cross_entropy(hidden, network.head.weight, batch.targets.flatten())

    def _bias(self, mask: Tensor) -> Tensor:
        """mask (B, 1, T, T) -> (B·h, T, T), -inf where a query may not attend."""
        heads = self._network.config.num_heads
        mask = mask.expand(-1, heads, -1, -1).flatten(0, 1)
        return torch.zeros(mask.shape, dtype=self._dtype).masked_fill_(~mask, float("-inf"))

    def _norm(self, norm: nn.LayerNorm, x: Tensor) -> Tensor:
        y: Tensor = norm(x)
        return y.to(self._dtype)

    def _linear(self, layer: nn.Linear, x: Tensor, scale: float = 1.0) -> Tensor:
        weight, bias = layer.weight * scale if scale != 1 else layer.weight, layer.bias * scale
        return F.linear(x, weight.to(self._dtype), bias.to(self._dtype))

    def _attention(self, layer: Attention, h: Tensor, bias: Tensor, positions: Tensor) -> Tensor:
        heads = (layer.num_heads, -1)
        qkv = torch.unflatten(self._linear(layer.qkv, h), -1, (3, -1))  # (B, T, 3, d)
        queries_keys, v = qkv[:, :, :2], qkv[:, :, 2]
        if layer.blend:
            queries_keys = queries_keys + self._qbnn(layer.qbnn, queries_keys, layer.blend)
        qk = torch.unflatten(queries_keys, -1, heads).permute(2, 0, 3, 1, 4)  # (2, B, h, T, hd)
        if layer.rotary is not None:
            qk = layer.rotary(qk.flatten(0, 1), positions.repeat(2, 1)).view_as(qk)
        q, k = qk.flatten(1, 2)  # (B·h, T, hd)
        v = torch.unflatten(v, -1, heads).transpose(1, 2).flatten(0, 1)
        y = attention(q, k, v, bias)
        y = torch.unflatten(y, 0, (-1, layer.num_heads)).transpose(1, 2).flatten(2)  # (B, T, d)
        return self._linear(layer.out, y)

    def _feed_forward(self, block: Block, h: Tensor) -> Tensor:
        up, down = block.mlp[0], block.mlp[2]
        assert isinstance(up, nn.Linear)
        assert isinstance(down, nn.Linear)
        y = self._linear(down, F.gelu(self._linear(up, h)), block.mlp_blend)
        return y + self._qbnn(block.qbnn, h, block.qbnn_blend) if block.qbnn_blend else y

    def _qbnn(self, layer: QBNN, x: Tensor, blend: float) -> Tensor:
        """blend · QBNN(x), x (..., d) -> (..., d)."""
        state = self._linear(layer.project_in, x)
        weight, entangle = (t.to(self._dtype) for t in layer.masked())
        amplitude = qbnn.NOISE_SCALE * apqb.temperature(layer.theta)
        last = recurrence(state.flatten(0, -2), weight, entangle, amplitude, layer.num_steps, self._noise)
        return self._linear(layer.project_out, last.view_as(state), blend)
