"""llama.cpp through the C loop beside this package (llama_loop.c)."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.anchors import LLAMA_LIBRARY, SIZE, gguf
from benchmarks.anchors.compiler import compiled
from benchmarks.anchors.llama_cpp import SOURCE
from benchmarks.engine.workload import PROMPT_LENGTH, TEMPERATURE, TOP_K, TOP_P, Generate, prompts

_LOOP = Path(__file__).parents[1] / "llama_loop.c"


def open_engine(batch_size: int, variant: str) -> Generate:
    """Variant: the file's precision, f32 or q8_0."""
    library = _library()
    generator = library.generator_open(
        str(gguf(variant)).encode(),
        batch_size,
        SIZE.context_length,
        PROMPT_LENGTH,
        TOP_K,
        ctypes.c_float(TOP_P),
        ctypes.c_float(TEMPERATURE),
    )
    if not generator:
        raise OSError(f"llama.cpp cannot read {gguf(variant)}")

    def generate(new_tokens: int) -> int:
        ids = np.array(prompts(batch_size), np.int32)
        output = np.empty((new_tokens, batch_size), np.int32)
        error = library.generator_run(
            ctypes.c_void_p(generator), _address(ids), PROMPT_LENGTH, new_tokens, _address(output)
        )
        if error:
            raise RuntimeError(f"llama_decode failed with {error}")
        return output.size

    return generate


def _library() -> ctypes.CDLL:
    if not LLAMA_LIBRARY.exists():
        raise FileNotFoundError(f"{LLAMA_LIBRARY} was not built")
    folder = LLAMA_LIBRARY.parent
    headers = [f"-I{SOURCE / part / 'include'}" for part in ("", "ggml")]
    options = ["-shared", "-fPIC", *headers, f"-L{folder}", "-lllama", f"-Wl,-rpath,{folder}"]
    library = ctypes.CDLL(str(compiled(_LOOP, *options, suffix=".so")))
    library.generator_open.restype = ctypes.c_void_p
    return library


def _address(array: NDArray[np.int32]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
