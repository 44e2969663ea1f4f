"""Builds the native decode library: `python -m model.native.build [--optional]`.

One shared library holds the same code for several instruction sets and picks one when it is first asked;
NEUROQ_NATIVE_ISA may name a lower one. Its file name carries a hash of the sources, so that a library of
other sources is never loaded. The compiler is $CXX, or the first of g++, clang++ and c++.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

_HERE = Path(__file__).parent
_SOURCES = _HERE / "src"
_LIBRARIES = _HERE / "lib"
_COMPILERS = ("g++", "clang++", "c++")
_AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vnni", "-mfma")
# Names as in api.cpp. A compiler that does not know the flags of one leaves it out.
_X86_FLAGS: dict[str, tuple[str, ...]] = {
    "avx512bf16": (*_AVX512, "-mavx512bf16"),
    "avx512": _AVX512,
    "avx2": ("-mavx2", "-mfma"),
}
# No contraction and no -ffast-math: a sum must have the same roundings in every tile.
_FLAGS = (
    "-std=c++17",
    "-O3",
    "-fPIC",
    "-fvisibility=hidden",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-Wno-psabi",
)
_STATIC = ("-static-libstdc++", "-static-libgcc")


class BuildError(RuntimeError):
    """The library cannot be built here."""


def library_path() -> Path | None:
    """Return the library that was built from these sources, or None."""
    path = _path()
    return path if path.is_file() else None


def build() -> Path:
    """Build the library unless it is there. Raises BuildError that says why it cannot."""
    path = _path()
    if path.is_file():
        return path
    compiler = find_compiler()
    with new_folder(path.parent) as folder:
        objects, isas = _compile_all(compiler, folder)
        definitions = [f"-DNEUROQ_HAS_{isa}" for isa in isas]
        for name in ("api", "pool"):
            objects.append(_compile(compiler, folder / f"{name}.o", name, definitions))
        linked = folder / path.name
        files = [str(each) for each in objects]
        run([*compiler, "-shared", "-o", str(linked), *files, "-pthread", *_STATIC])
        linked.replace(path)  # a reader sees the whole library or none
    for outdated in set(path.parent.glob("libneuroq-*.so")) - {path}:
        outdated.unlink()
    return path


@functools.cache
def _path() -> Path:
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for source in sorted(_SOURCES.iterdir()):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return _LIBRARIES / f"libneuroq-{digest.hexdigest()[:12]}.so"


@contextmanager
def new_folder(parent: Path) -> Iterator[Path]:
    """Yield a temporary folder in `parent`. Raises BuildError where nothing can be written."""
    try:
        parent.mkdir(exist_ok=True)
        folder = tempfile.TemporaryDirectory(dir=parent, prefix=".build-")
    except OSError as error:
        raise BuildError(f"{parent} cannot be written: {error.strerror}") from error
    with folder as name:
        yield Path(name)


def find_compiler() -> list[str]:
    """Return the compiler's command. Raises BuildError when there is none."""
    if os.environ.get("CXX"):
        return shlex.split(os.environ["CXX"])
    for name in _COMPILERS:
        if shutil.which(name):
            return [name]
    raise BuildError("no C++ compiler was found (set CXX, or install g++)")


def _compile_all(compiler: list[str], folder: Path) -> tuple[list[Path], list[str]]:
    """Compile the kernels for each instruction set; returns the objects and the optional sets among them."""
    optional = _X86_FLAGS if platform.machine().lower() in {"x86_64", "amd64"} else {}

    def kernels(isa: str) -> Path | None:
        try:
            flags = [*optional.get(isa, ()), f"-DNEUROQ_ISA={isa}"]
            return _compile(compiler, folder / f"{isa}.o", "kernels", flags)
        except BuildError:
            if isa in optional:
                return None
            raise

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        names = [*optional, "portable"]
        built = {isa: path for isa, path in zip(names, pool.map(kernels, names), strict=True) if path}
    return list(built.values()), [isa for isa in built if isa in optional]


def _compile(compiler: list[str], target: Path, source: str, flags: list[str]) -> Path:
    run([*compiler, *_FLAGS, *flags, "-c", str(_SOURCES / f"{source}.cpp"), "-o", str(target)])
    return target


def run(command: list[str]) -> None:
    """Run a compiler. Raises BuildError with its first error."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BuildError(f"{command[0]} cannot be run: {error.strerror}") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise BuildError(next((line for line in lines if "error" in line), lines[0]))


def main() -> int:
    """Build, and say in one line what came of it."""
    parser = argparse.ArgumentParser(description="Build the native decode library.")
    parser.add_argument("--optional", action="store_true", help="succeed where it cannot be built")
    arguments = parser.parse_args()
    already = library_path() is not None
    try:
        path = build()
    except BuildError as error:
        print(f"native library not built, PyTorch will be used: {error}", file=sys.stderr)
        return 0 if arguments.optional else 1
    print(f"native library {'is there already' if already else 'built'}: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
