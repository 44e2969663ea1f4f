"""Which way imports run, checked on the source and in a running process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.integration


def test_import_contracts_hold() -> None:
    code = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "strangers"),
    [
        (
            "handler.neuroq_handler",
            ["train", "client", "server", "rich", "click", "jinja2", "matplotlib", "redis"],
        ),
        ("train.__main__", ["handler", "client", "server", "ts", "pydantic", "matplotlib", "tensorboard"]),
        ("train.__main__", ["obstore"]),
        ("model.engine", ["handler", "train", "ts", "pydantic", "click", "rich"]),
        ("deploy.runpod.worker", ["model", "handler", "train", "torch", "ts", "sentencepiece", "runpod"]),
        ("client.cli", ["model", "handler", "train", "torch", "ts", "sentencepiece", "obstore"]),
    ],
)
def test_what_a_process_loads(module: str, strangers: list[str]) -> None:
    code = f"import sys, {module}; print([name for name in {strangers!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_no_file_grows_too_long() -> None:
    folders = ("model", "handler", "train", "server", "client", "storage", "deploy", "benchmarks")
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)  # built by benchmarks
    }
    assert lengths
    assert {name: count for name, count in lengths.items() if count > 330} == {}
