"""Build the named models, or all: see benchmarks.anchors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from benchmarks.anchors import (
    BUILD,
    CTRANSLATE2,
    HUGGING_FACE,
    LLAMA_LIBRARY,
    LLAMA_SERVER,
    gguf,
    onnx,
)

# name -> the files that are written last and the function that writes them. Later ones read what earlier
# ones built. A module loads when its turn comes: a package that is missing leaves out one model only.
_ANCHORS: dict[str, tuple[list[Path], str]] = {
    "hugging-face": ([HUGGING_FACE / "model.safetensors"], "gpt2.build"),
    "ctranslate2": ([CTRANSLATE2 / "model.bin"], "ctranslate2_model.build"),
    "gguf": ([gguf("f32"), gguf("q8_0")], "gguf_model.build"),
    "onnx": ([onnx("float32"), onnx("int8")], "onnx_step.build"),
    "llama.cpp": ([LLAMA_LIBRARY], "llama_cpp.build_library"),
    "llama-server": ([LLAMA_SERVER], "llama_cpp.build_server"),
}


def main(names: list[str]) -> int:
    """Build what is missing of the named models; return 1 if one could not be built."""
    unknown = sorted(set(names) - set(_ANCHORS))
    if unknown:
        print(f"no model {', '.join(unknown)}; there are: {', '.join(_ANCHORS)}", file=sys.stderr)
        return 2
    BUILD.mkdir(exist_ok=True)
    failed = [name for name in names or _ANCHORS if not _build(name)]
    return 1 if failed else 0


def _build(name: str) -> bool:
    paths, function = _ANCHORS[name]
    if all(path.exists() for path in paths):
        return True
    print(f"building {name}", flush=True)
    module, _, function = function.partition(".")
    try:
        build: Callable[[], None] = getattr(import_module(f"benchmarks.anchors.{module}"), function)
        build()
    except (ImportError, OSError, subprocess.CalledProcessError) as error:
        print(f"{name} is left out: {error}", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
