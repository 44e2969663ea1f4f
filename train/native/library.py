"""Builds and loads the training kernels: once for this processor, kept beside their source."""

from __future__ import annotations

import ctypes
import functools
import hashlib
from ctypes import c_double, c_int64, c_void_p
from pathlib import Path

import torch

from model.native.build import find_compiler, new_folder, run

_SOURCE = Path(__file__).parent / "kernels.cpp"
_LIBRARIES = Path(__file__).parent / "lib"
# The order of a sum may differ between machines, as it does in PyTorch's own kernels.
_FLAGS = (
    *("-std=c++17", "-O3", "-march=native", "-fPIC", "-shared"),
    # What vectorised sums need of -ffast-math, which itself would flush denormals in the whole process.
    *("-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fassociative-math"),
)
_NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
_SIGNATURES = {
    "cross_entropy": (c_double, [c_void_p, c_void_p, c_int64, c_int64]),
    "tanh": (None, [c_void_p, c_void_p, c_int64]),
    "step": (None, [c_void_p] * 6 + [c_int64] * 2),
    "step_backward": (None, [c_void_p] * 9 + [c_int64] * 2),
    "add_through_tanh": (None, [c_void_p, c_void_p, c_void_p, c_int64]),
}


class Kernels:
    """The functions of kernels.cpp, called with contiguous tensors of one type and with sizes."""

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path))
        self._functions = {}
        for dtype, suffix in _NAMES.items():
            for name, (result, arguments) in _SIGNATURES.items():
                function = getattr(library, f"{name}_{suffix}")
                function.restype, function.argtypes = result, arguments
                self._functions[name, dtype] = function

    def call(self, name: str, *arguments: torch.Tensor | int) -> float:
        """Call a function; the first argument's type picks its version."""
        first = arguments[0]
        assert isinstance(first, torch.Tensor)
        function = self._functions[name, first.dtype]
        plain = [a.data_ptr() if isinstance(a, torch.Tensor) else a for a in arguments]
        return function(*plain)  # type: ignore[no-any-return]


@functools.cache
def kernels() -> Kernels:
    """Return the kernels, built if need be. Raises BuildError."""
    path = _LIBRARIES / f"libtrain-{_digest()}.so"
    if not path.is_file():
        _build(path)
    return Kernels(path)


def _build(path: Path) -> None:
    with new_folder(path.parent) as folder:
        built = folder / path.name
        run([*find_compiler(), *_FLAGS, str(_SOURCE), "-o", str(built)])
        built.replace(path)  # a reader sees the whole library or none


def _digest() -> str:
    """Of the source and of the processor that it is compiled for."""
    processor = repr(sorted(torch.cpu.get_capabilities().items()))
    return hashlib.sha256(_SOURCE.read_bytes() + repr(_FLAGS).encode() + processor.encode()).hexdigest()[:12]
