"""ONNX Runtime on NeuroQ's own layers: the decode step of benchmarks.anchors.onnx_step."""

from __future__ import annotations

import numpy as np
import onnxruntime

from benchmarks.anchors import SIZE, onnx
from benchmarks.anchors.onnx_step import INPUTS, OUTPUTS
from benchmarks.engine.workload import Generate, prompts


def open_engine(batch_size: int, variant: str) -> Generate:
    """Variant: the file's precision, float32 or int8."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx(variant), options, providers=["CPUExecutionProvider"])
    empty = np.zeros((SIZE.num_layers, batch_size, SIZE.num_heads, 0, SIZE.head_dim), np.float32)
    random = np.random.default_rng()

    def generate(new_tokens: int) -> int:
        ids = _value(np.array(prompts(batch_size)))
        keys = values = _value(empty)
        for uniform in random.random((new_tokens, batch_size, 1), np.float32):
            inputs = dict(zip(INPUTS, (ids, _value(uniform), keys, values), strict=True))
            ids, keys, values = session.run_with_ort_values(OUTPUTS, inputs)
        return batch_size * new_tokens

    return generate


def _value(array: np.ndarray) -> onnxruntime.OrtValue:
    return onnxruntime.OrtValue.ortvalue_from_numpy(array)
