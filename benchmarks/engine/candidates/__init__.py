"""The engines: what each is called, and the module whose `open_engine(batch_size, variant)` opens it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from benchmarks.engine.workload import Generate


@dataclass(frozen=True)
class Candidate:
    """An engine of the table. `package` is the distribution whose version tells what was measured, if any."""

    name: str
    title: str
    module: str
    variant: str = ""
    package: str = "torch"
    batches: tuple[int, ...] | None = None
    by_default: bool = True

    def open(self, batch_size: int) -> Generate:
        """Load the engine for one batch size. Raises whatever it fails with where it cannot run."""
        module = import_module(f"benchmarks.engine.candidates.{self.module}")
        open_engine: Callable[[int, str], Generate] = module.open_engine
        return open_engine(batch_size, self.variant)

    def takes(self, batch_size: int) -> bool:
        """Whether it is measured at this batch size."""
        return self.batches is None or batch_size in self.batches


_GPT2, _LAYERS = "GPT-2 of the same size", "NeuroQ's layers"
CANDIDATES = {
    candidate.name: candidate
    for candidate in (
        Candidate("original", f"the original's way, no cache, {_LAYERS}", "original", batches=(1,)),
        Candidate("hugging-face", f"Hugging Face generate, {_GPT2}", "hugging_face", "", "transformers"),
        Candidate("pytorch", f"plain PyTorch, static cache, {_LAYERS}", "pytorch", "eager"),
        Candidate("pytorch-compiled", f"torch.compile, {_LAYERS}", "pytorch", "compiled", by_default=False),
        Candidate(
            "onnxruntime-float32",
            f"ONNX Runtime, {_LAYERS}, float32",
            "onnx_runtime",
            "float32",
            "onnxruntime",
        ),
        Candidate(
            "onnxruntime-int8", f"ONNX Runtime, {_LAYERS}, int8", "onnx_runtime", "int8", "onnxruntime"
        ),
        Candidate("llama.cpp-f32", f"llama.cpp, {_GPT2}, f32", "llama_cpp", "f32", ""),
        Candidate("llama.cpp-q8_0", f"llama.cpp, {_GPT2}, q8_0", "llama_cpp", "q8_0", ""),
        Candidate(
            "ctranslate2-float32",
            f"CTranslate2, {_GPT2}, float32",
            "ctranslate2_generator",
            "float32",
            "ctranslate2",
        ),
        Candidate(
            "ctranslate2-int8", f"CTranslate2, {_GPT2}, int8", "ctranslate2_generator", "int8", "ctranslate2"
        ),
        Candidate("neuroq-pytorch", "NeuroQ, PyTorch reference path", "neuroq", "pytorch"),
        Candidate("neuroq-float32", "NeuroQ, float32", "neuroq", "float32"),
        Candidate("neuroq-bfloat16", "NeuroQ, bfloat16", "neuroq", "bfloat16"),
        Candidate("neuroq-int8", "NeuroQ, int8", "neuroq", "int8"),
    )
}
