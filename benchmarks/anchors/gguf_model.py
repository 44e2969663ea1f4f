"""The random GPT-2 as GGUF files for llama.cpp, in float32 and in blocks of 8-bit integers (Q8_0)."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType
from numpy.typing import NDArray
from safetensors.numpy import load_file

from benchmarks.anchors import HUGGING_FACE, SIZE
from benchmarks.anchors import gguf as gguf_path
from benchmarks.anchors.gpt2 import SPECIAL_TOKENS

# GGUF's name of a block's part <- GPT-2's. The matrices of GPT-2 are stored as (in, out).
_PARTS = {
    "attn_norm": "ln_1",
    "attn_qkv": "attn.c_attn",
    "attn_output": "attn.c_proj",
    "ffn_norm": "ln_2",
    "ffn_up": "mlp.c_fc",
    "ffn_down": "mlp.c_proj",
}
_BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]
FIRST_WORD = len(SPECIAL_TOKENS) + len(_BYTE_TOKENS)


def build() -> None:
    """Write both files from the Hugging Face folder."""
    tensors = _tensors(load_file(HUGGING_FACE / "model.safetensors"))
    _write(gguf_path("f32"), tensors, LlamaFileType.ALL_F32)
    _write(gguf_path("q8_0"), tensors, LlamaFileType.MOSTLY_Q8_0)


def _tensors(gpt2: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Return the network under GGUF's names; the head is the token embedding, as in GPT-2."""
    tensors = {
        "token_embd.weight": gpt2["transformer.wte.weight"],
        "position_embd.weight": gpt2["transformer.wpe.weight"],
        "output_norm.weight": gpt2["transformer.ln_f.weight"],
        "output_norm.bias": gpt2["transformer.ln_f.bias"],
    }
    for layer in range(SIZE.num_layers):
        for ours, theirs in _PARTS.items():
            for kind in ("weight", "bias"):
                tensor = gpt2[f"transformer.h.{layer}.{theirs}.{kind}"]
                tensors[f"blk.{layer}.{ours}.{kind}"] = np.ascontiguousarray(tensor.T)
    return tensors


def _write(path: Path, tensors: dict[str, NDArray[np.float32]], file_type: LlamaFileType) -> None:
    writer = GGUFWriter(path, "gpt2")
    writer.add_name("random GPT-2")
    writer.add_file_type(file_type)
    writer.add_context_length(SIZE.context_length)
    writer.add_embedding_length(SIZE.embed_dim)
    writer.add_block_count(SIZE.num_layers)
    writer.add_feed_forward_length(4 * SIZE.embed_dim)
    writer.add_head_count(SIZE.num_heads)
    writer.add_layer_norm_eps(1e-5)
    _add_vocabulary(writer)
    for name, tensor in tensors.items():
        if file_type == LlamaFileType.MOSTLY_Q8_0 and tensor.ndim == 2 and name != "position_embd.weight":
            blocks = gguf.quants.quantize(tensor, GGMLQuantizationType.Q8_0)
            writer.add_tensor(name, blocks, raw_dtype=GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_vocabulary(writer: GGUFWriter) -> None:
    """Bytes and made-up words, so that llama.cpp's server can read and write any text."""
    made_up = SIZE.vocab_size - FIRST_WORD
    writer.add_tokenizer_model("llama")
    writer.add_token_list(
        [*SPECIAL_TOKENS, *_BYTE_TOKENS, *(f"▁t{i}" for i in range(FIRST_WORD, SIZE.vocab_size))]
    )
    writer.add_token_scores([-float(i) for i in range(SIZE.vocab_size)])
    writer.add_token_types(
        [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL]
        + [TokenType.BYTE] * len(_BYTE_TOKENS)
        + [TokenType.NORMAL] * made_up
    )
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
