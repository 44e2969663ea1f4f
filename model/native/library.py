"""The ctypes binding of the native library (src/api.h). A call releases the interpreter's lock."""

from __future__ import annotations

import ctypes
import functools
from ctypes import POINTER, Structure, c_char_p, c_double, c_float, c_int32, c_uint64, c_void_p

from model.native import build

_FLOATS = _IDS = c_void_p  # addresses; whoever fills them in keeps the memory


class Config(Structure):
    """neuroq_config."""

    _fields_ = (
        ("vocab_size", c_int32),
        ("embed_dim", c_int32),
        ("num_heads", c_int32),
        ("num_layers", c_int32),
        ("num_neurons", c_int32),
        ("num_steps", c_int32),
        ("context_length", c_int32),
        ("precision", c_int32),
        ("num_slots", c_int32),
        ("threads", c_int32),
        ("num_end_ids", c_int32),
        ("end_ids", _IDS),
        ("fluctuation", c_double),
    )


class LayerWeights(Structure):
    """neuroq_layer_weights."""

    _fields_ = tuple(
        (name, _FLOATS)
        for name in (
            *("query", "query_bias", "query_neurons", "query_neurons_bias"),
            *("key", "key_bias", "key_neurons", "key_neurons_bias", "value", "value_bias"),
            *("attention_drive", "attention_entangle", "attention_out", "out", "out_bias"),
            *("up", "up_bias", "neurons", "neurons_bias", "drive", "entangle"),
            *("down", "down_bias", "neurons_out"),
        )
    )


class Weights(Structure):
    """neuroq_weights."""

    _fields_ = (
        ("token_embedding", _FLOATS),
        ("position_embedding", _FLOATS),
        ("cosines", _FLOATS),
        ("sines", _FLOATS),
        ("head", _FLOATS),
        ("head_bias", _FLOATS),
        ("layers", POINTER(LayerWeights)),
    )


class NativeRow(Structure):
    """neuroq_row."""

    _fields_ = (
        ("slot", c_int32),
        ("position", c_int32),
        ("num_pending", c_int32),
        ("num_recent", c_int32),
        ("index", c_int32),
        ("limit", c_int32),
        ("top_k", c_int32),
        ("num_logprobs", c_int32),
        ("quantum_noise", c_int32),
        ("repetition_penalty", c_float),
        ("temperature", c_double),
        ("top_p", c_double),
        ("seed", c_uint64),
        ("pending", _IDS),
        ("recent", _IDS),
        ("num_ids", c_int32),
        ("ids", _IDS),
        ("logprobs", _FLOATS),
        ("top_ids", _IDS),
        ("top_logprobs", _FLOATS),
    )


@functools.cache
def load() -> ctypes.CDLL | None:
    """Return the library, or None where it was not built or cannot run."""
    path = build.library_path()
    if path is None:
        return None
    try:
        library = ctypes.CDLL(str(path))
    except OSError:  # built on another kind of machine
        return None
    library.neuroq_isa.restype = c_char_p
    library.neuroq_has_bfloat16.restype = c_int32
    library.neuroq_open.restype = c_void_p
    library.neuroq_open.argtypes = (POINTER(Config), POINTER(Weights))
    library.neuroq_close.argtypes = (c_void_p,)
    library.neuroq_close.restype = None
    library.neuroq_decode.argtypes = (c_void_p, POINTER(NativeRow), c_int32)
    library.neuroq_decode.restype = None
    library.neuroq_logits.argtypes = (c_void_p, c_void_p, c_int32, c_void_p)
    library.neuroq_logits.restype = None
    return library
