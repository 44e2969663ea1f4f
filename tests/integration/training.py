"""The offline command as a user runs it: real processes, real signals, real files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from model.checkpoint import Checkpoint
from tests.conftest import ROOT
from train.corpus import Document
from train.remote import open_checkpoint


def command(*arguments: str, module: str = "train") -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def train(
    *arguments: str, stdin: str | None = None, module: str = "train"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments, module=module), cwd=ROOT, input=stdin, capture_output=True, text=True, check=False
    )


def start(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Start a run in a session of its own, its lines in `stderr`."""
    return subprocess.Popen(
        command(*arguments),
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def write_dialogues(path: Path, documents: list[Document], count: int) -> str:
    dialogues = [document for document in documents if document.turns][:count]
    records = [{"turns": [{"role": turn.role, "text": turn.text} for turn in d.turns]} for d in dialogues]
    path.write_text("\n".join(json.dumps(record, ensure_ascii=False) for record in records))
    return str(path)


def load_whole(path: Path) -> Checkpoint:
    """A checkpoint that can be served: readable, of its own shape, with its tokenizer in it or beside it."""
    checkpoint = open_checkpoint(str(path)).checkpoint
    checkpoint.build()
    return checkpoint


def weights(path: Path) -> dict[str, torch.Tensor]:
    return Checkpoint.load(path).weights


def same(one: Path, two: Path) -> bool:
    a, b = weights(one), weights(two)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
