"""From a network's parameters to the folded arrays that the native code multiplies with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.config import ModelConfig
from model.network import Block, NeuroQ
from model.qbnn import QBNN

LANES = 16

Array = NDArray[np.float32]
_Exact = NDArray[np.float64]


@dataclass(frozen=True)
class FoldedNetwork:
    """Contiguous float32 arrays, named and shaped as in src/api.h; computed in float64.

    Folded are the masks and λ, the blend factors, each LayerNorm's affine part (into what follows it), and
    the QBNN's input projection (into the query's and key's own).
    """

    arrays: dict[str, Array | None]
    layers: list[dict[str, Array]]


@torch.no_grad()
def fold(network: NeuroQ) -> FoldedNetwork:
    """Return the folded weights of a network."""
    config = network.config
    head, head_bias = _after_norm(network.norm, _exact(network.head.weight))
    positions, rotary = network.position_embedding, _rotary(network)
    arrays = {
        "token_embedding": _exact(network.token_embedding.weight),
        "position_embedding": None if positions is None else _exact(positions.weight),
        "cosines": None if rotary is None else _all_heads(rotary[0], config),
        "sines": None if rotary is None else _all_heads(rotary[1], config),
        "head": head,
        "head_bias": head_bias,
    }
    layers = [_fold_block(block, config) for block in network.blocks if isinstance(block, Block)]
    return FoldedNetwork(
        {name: None if array is None else _float32(array) for name, array in arrays.items()},
        [{name: _float32(array) for name, array in layer.items()} for layer in layers],
    )


def _fold_block(block: Block, config: ModelConfig) -> dict[str, _Exact]:
    return {**_fold_attention(block, config), **_fold_mlp(block)}


def _fold_attention(block: Block, config: ModelConfig) -> dict[str, _Exact]:
    attention, norm = block.attention, block.norm1
    qbnn = attention.qbnn
    weights, biases = (
        np.split(_exact(t), 3) for t in (attention.qkv.weight, attention.qkv.bias)
    )  # (W, W), (W) each
    halves, values = _half_order(config), _value_order(config)
    qbnn_out, qbnn_out_bias = (attention.blend * array for array in _affine(qbnn.project_out))
    folded = {
        "attention_out": _take(qbnn_out, halves),
        "out": _take(_exact(attention.out.weight).T, values).T,
        "out_bias": _exact(attention.out.bias),
        **{f"attention_{name}": array for name, array in _recurrence(qbnn).items()},
    }
    for name, weight, bias in zip(("query", "key"), weights, biases, strict=False):
        own, own_bias = _after_norm(norm, weight, bias)
        folded[name] = _take(own, halves)
        folded[f"{name}_bias"] = _take(own_bias + qbnn_out_bias, halves)
        # The QBNN sees the query itself, so its input projection of it is one of the normed input.
        inner, inner_bias = _affine(qbnn.project_in)
        folded[f"{name}_neurons"] = inner @ own
        folded[f"{name}_neurons_bias"] = inner @ own_bias + inner_bias
    value, value_bias = _after_norm(norm, weights[2], biases[2])
    return {**folded, "value": _take(value, values), "value_bias": _take(value_bias, values)}


def _fold_mlp(block: Block) -> dict[str, _Exact]:
    up, down = block.mlp[0], block.mlp[2]
    assert isinstance(up, nn.Linear)
    assert isinstance(down, nn.Linear)
    up_weight, up_bias = _after_norm(block.norm2, *_affine(up))
    neurons, neurons_bias = _after_norm(block.norm2, *_affine(block.qbnn.project_in))
    down_weight, down_bias = (block.mlp_blend * array for array in _affine(down))
    out, out_bias = (block.qbnn_blend * array for array in _affine(block.qbnn.project_out))
    return {
        "up": up_weight,
        "up_bias": up_bias,
        "neurons": neurons,
        "neurons_bias": neurons_bias,
        "down": down_weight,
        "down_bias": down_bias + out_bias,
        "neurons_out": out,
        **_recurrence(block.qbnn),
    }


def _recurrence(qbnn: QBNN) -> dict[str, _Exact]:
    """(W∘M)ᵀ and λ (J∘M)ᵀ, one row for each neuron that is driven."""
    mask = _exact(qbnn.mask)
    return {
        "drive": (_exact(qbnn.weight) * mask).T,
        "entangle": (_exact(qbnn.entanglement) * _exact(qbnn.entangle) * mask).T,
    }


def _after_norm(norm: nn.LayerNorm, weight: _Exact, bias: _Exact | None = None) -> tuple[_Exact, _Exact]:
    """Fold γ and β: weight (γ ∘ x + β) + bias = (weight ∘ γ) x + (weight β + bias)."""
    shift = weight @ _exact(norm.bias)
    return weight * _exact(norm.weight), shift if bias is None else shift + bias


def _half_order(config: ModelConfig) -> NDArray[np.intp]:
    """Where each query and key dimension of the native code comes from, -1 for none.

    First the first halves of all heads, then the second ones, so that RoPE is one operation over all heads;
    the missing last dimension of an odd head is empty.
    """
    half = (config.head_dim + 1) // 2
    within = np.arange(2 * half).reshape(2, 1, half)  # (2, 1, half)
    start = config.head_dim * np.arange(config.num_heads)[:, None]  # (heads, 1)
    return np.where(within < config.head_dim, start + within, -1).reshape(-1)


def _value_order(config: ModelConfig) -> NDArray[np.intp]:
    """Where each value dimension comes from: every head starts at a multiple of LANES, -1 for padding."""
    within = np.arange(-(-config.head_dim // LANES) * LANES)
    start = config.head_dim * np.arange(config.num_heads)[:, None]  # (heads, 1)
    return np.where(within < config.head_dim, start + within, -1).reshape(-1)


def _take(array: _Exact, order: NDArray[np.intp]) -> _Exact:
    """Reorder the first axis, with zeros where `order` is -1."""
    taken = array[order]
    taken[order < 0] = 0.0
    return taken


def _rotary(network: NeuroQ) -> tuple[_Exact, _Exact] | None:
    rotary = network.blocks[0].attention.rotary  # type: ignore[union-attr]
    return None if rotary is None else (_exact(rotary.cosines), _exact(rotary.sines))  # type: ignore


def _all_heads(angles: _Exact, config: ModelConfig) -> _Exact:
    """(context, half) -> (context, heads · half)."""
    return np.tile(angles, (1, config.num_heads))


def _affine(linear: nn.Linear) -> tuple[_Exact, _Exact]:
    return _exact(linear.weight), _exact(linear.bias)


def _exact(tensor: Tensor) -> _Exact:
    array: _Exact = tensor.detach().double().cpu().numpy()
    return array


def _float32(array: _Exact) -> Array:
    return np.ascontiguousarray(array, dtype=np.float32)
