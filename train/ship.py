"""Make a checkpoint ready to be passed on: python -m train.ship CHECKPOINT OUTPUT.

Its floating-point weights become bfloat16, half the bytes, and its lineage tells no folder of this machine.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch

from model.checkpoint import Checkpoint, CheckpointError, file_sha256
from model.tokenizer import TokenizerError
from train import interruption
from train.remote import open_checkpoint

_PLACES = ("texts", "checkpoint_path", "tokenizer_path", "init_from")


def reduced(checkpoint: Checkpoint) -> Checkpoint:
    """Return the checkpoint with its weights in bfloat16 and without the places of its texts."""
    weights = {
        name: tensor.to(torch.bfloat16) if tensor.is_floating_point() else tensor
        for name, tensor in checkpoint.weights.items()
    }
    return replace(checkpoint, weights=weights, lineage=without_folders(checkpoint.lineage))


def without_folders(lineage: Any) -> Any:
    """Return a lineage whose places are names without their folders."""
    if isinstance(lineage, dict):
        return {name: _place(name, value) for name, value in lineage.items()}
    return lineage


def _place(name: str, value: Any) -> Any:
    if name in ("sources", "texts") and isinstance(value, list | tuple):
        return [Path(each).name for each in value]
    if name in ("place", *_PLACES) and isinstance(value, str):
        return Path(value).name
    return without_folders(value)


@click.command(name="ship")
@click.argument("checkpoint", type=str)
@click.argument("output", type=click.Path(path_type=Path, dir_okay=False))
def main(checkpoint: str, output: Path) -> None:
    """Write CHECKPOINT to OUTPUT, ready to be passed on."""
    try:
        opened = open_checkpoint(checkpoint)
        small = replace(reduced(opened.checkpoint), tokenizer_model=opened.tokenizer.model_bytes)
        small.build()
        small.save(output)
    except (CheckpointError, TokenizerError, ValueError) as error:
        click.echo(f"ship: {error}", err=True)
        sys.exit(1)
    size = output.stat().st_size / 1e6
    click.echo(f"{output}: {size:.1f} MB, SHA-256 {file_sha256(output)}")


if __name__ == "__main__":
    interruption.run(main)
