"""The rivals' models: NeuroQ's size, random weights, each in its engine's own format.

    python -m benchmarks.anchors [NAME]...

builds what is missing below benchmarks/.build. One random GPT-2 network is what Hugging Face, CTranslate2
and llama.cpp run; ONNX Runtime runs NeuroQ's own layers.
"""

from __future__ import annotations

from pathlib import Path

from model.config import ModelConfig

BUILD = Path(__file__).resolve().parents[1] / ".build"
SIZE = ModelConfig()
SEED = 0

HUGGING_FACE = BUILD / "hugging-face"
CTRANSLATE2 = BUILD / "ctranslate2"
LLAMA_SOURCE = BUILD / "llama.cpp"
LLAMA_LIBRARY = LLAMA_SOURCE / "build" / "bin" / "libllama.so"
LLAMA_SERVER = LLAMA_SOURCE / "build" / "bin" / "llama-server"


def gguf(precision: str) -> Path:
    """Where the GPT-2 network lies for llama.cpp: precision f32 or q8_0."""
    return BUILD / f"gpt2-{precision}.gguf"


def onnx(precision: str) -> Path:
    """Where NeuroQ's decode step lies for ONNX Runtime: precision float32 or int8."""
    return BUILD / f"neuroq-{precision}.onnx"
