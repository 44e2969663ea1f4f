"""llama.cpp for this very processor: its library and its server, from the source that a PyPI package carries.

The package's own build would take as long and leave the server out.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile

from benchmarks.anchors import LLAMA_SOURCE

PACKAGE = "llama_cpp_python"
VERSION = "0.3.36"
# As fast as it gets here (NATIVE), and nothing but what is asked for: no TLS, no web page.
_OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "BUILD_SHARED_LIBS": "ON",
    "GGML_NATIVE": "ON",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_SERVER": "ON",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_OPENSSL": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",
}
SOURCE = LLAMA_SOURCE / f"{PACKAGE}-{VERSION}" / "vendor" / "llama.cpp"


def build_library() -> None:
    """Compile libllama."""
    _build("llama")


def build_server() -> None:
    """Compile llama-server."""
    _build("llama-server")


def _build(target: str) -> None:
    if not SOURCE.exists():
        _download()
    folder = str(LLAMA_SOURCE / "build")
    cmake = [sys.executable, "-m", "cmake"]
    options = [f"-D{name}={value}" for name, value in _OPTIONS.items()]
    subprocess.run([*cmake, "-S", str(SOURCE), "-B", folder, *options], check=True)
    jobs = str(os.cpu_count() or 1)
    subprocess.run([*cmake, "--build", folder, "--parallel", jobs, "--target", target], check=True)


def _download() -> None:
    LLAMA_SOURCE.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", f"--no-binary={PACKAGE}"]
    subprocess.run([*pip, f"--dest={LLAMA_SOURCE}", f"{PACKAGE}=={VERSION}"], check=True)
    with tarfile.open(LLAMA_SOURCE / f"{PACKAGE}-{VERSION}.tar.gz") as archive:
        archive.extractall(LLAMA_SOURCE, filter="data")
