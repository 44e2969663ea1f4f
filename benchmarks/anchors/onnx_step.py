"""NeuroQ's own layers for ONNX Runtime: a decode step with sampling in the graph, in float32 and int8.

The graph takes the keys and values so far and returns them with the new ones: the usual export of a decoder.
"""

from __future__ import annotations

import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn
from torch.export import Dim

from benchmarks.anchors import SEED, SIZE, onnx
from benchmarks.engine.draw import draw
from model.cache import CacheRows
from model.network import NeuroQ

INPUTS = ("ids", "uniform", "past_keys", "past_values")
OUTPUTS = ("next_ids", "keys", "values")


class _Past(CacheRows):
    """Keys and values as tensors of their own, (layers, B, heads, past, head_dim), longer layer by layer."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self._keys, self._values = keys, values
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def update(self, layer: int, key: Tensor, value: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        self.keys.append(torch.cat([self._keys[layer], key], dim=2))
        self.values.append(torch.cat([self._values[layer], value], dim=2))
        return self.keys[-1], self.values[-1]

    def mask(self, positions: Tensor) -> Tensor:
        length = self._keys.shape[3] + positions.shape[1]
        return torch.arange(length) <= positions[:, None, :, None]


class Step(nn.Module):
    """Ids (B, T), uniform draws (B, 1) and the past -> next ids (B, 1) and the past with T positions more."""

    def __init__(self, network: NeuroQ) -> None:
        super().__init__()
        self.network = network.freeze()

    def forward(
        self, ids: Tensor, uniform: Tensor, past_keys: Tensor, past_values: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        past = _Past(past_keys, past_values)
        positions = past_keys.shape[3] + torch.arange(ids.shape[1]).expand_as(ids)
        logits = self.network(ids, positions, cache=past)[:, -1]
        return draw(logits, uniform), torch.stack(past.keys), torch.stack(past.values)


def build() -> None:
    """Export the step, then make every matrix of it 8-bit."""
    torch.manual_seed(SEED)
    batch, length, past = 3, 5, 7
    cache = torch.zeros(SIZE.num_layers, batch, SIZE.num_heads, past, SIZE.head_dim)
    ids = torch.zeros(batch, length, dtype=torch.long)
    rows, tokens, before = Dim("rows"), Dim("tokens"), Dim("before")
    with torch.no_grad():
        program = torch.onnx.export(
            Step(NeuroQ(SIZE)).eval(),
            (ids, torch.rand(batch, 1), cache, cache.clone()),
            dynamo=True,
            input_names=INPUTS,
            output_names=OUTPUTS,
            dynamic_shapes=({0: rows, 1: tokens}, {0: rows}, {1: rows, 3: before}, {1: rows, 3: before}),
        )
    assert program is not None
    program.save(str(onnx("float32")), external_data=False)
    quantize_dynamic(onnx("float32"), onnx("int8"), weight_type=QuantType.QInt8, per_channel=True)
