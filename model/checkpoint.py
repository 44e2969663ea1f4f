"""The checkpoint: one file of tensors and plain values that says where it comes from."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from model.config import ModelConfig
from model.files import replace_files
from model.network import NeuroQ
from model.tokenizer import Tokenizer

FORMAT_VERSION = 2
_READABLE = (1, 2)  # the first had no tokenizer in it: it lies beside the file
CHECKPOINT_NAME = "neuroq_checkpoint.pt"
TOKENIZER_NAME = "neuroq_tokenizer.model"
_KEYS = {"format_version", "config", "model", "tokenizer_sha256", "lineage"}
_TOKENIZER = "tokenizer_model"


class CheckpointError(ValueError):
    """The checkpoint is missing, unreadable, of another format, or does not fit the tokenizer."""


@dataclass(frozen=True)
class Checkpoint:
    """A trained network with its tokenizer and its lineage.

    `tokenizer_model` is the content of the tokenizer's file; empty where it lies beside the checkpoint.
    `lineage` is a plain dictionary: code version, when it was trained, the data and its fingerprint, the
    training arguments, the metrics, and the parent checkpoint if it continued one.
    """

    config: ModelConfig
    weights: dict[str, Tensor]
    tokenizer_sha256: str
    lineage: dict[str, Any] = field(default_factory=dict)
    tokenizer_model: bytes = b""

    def save(self, path: Path) -> None:
        """Replace the file. Raises OSError.

        Under the seed's name for a checkpoint the tokenizer is replaced with it, under the seed's name, too:
        both or none.
        """
        values = {
            "format_version": FORMAT_VERSION,
            "config": self.config.to_dict(),
            "model": self.weights,
            "tokenizer_sha256": self.tokenizer_sha256,
            "lineage": self.lineage,
        }
        if self.tokenizer_model:
            values[_TOKENIZER] = torch.frombuffer(bytearray(self.tokenizer_model), dtype=torch.uint8)
        writers = {path: tensor_writer(values)}
        if self.tokenizer_model and path.name == CHECKPOINT_NAME:
            writers[tokenizer_path(path)] = lambda file: file.write(self.tokenizer_model)
        replace_files(writers)

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read a file. Raises CheckpointError with the reason."""
        values = read_tensors(path)
        if set(values) - {_TOKENIZER} != _KEYS:
            raise CheckpointError(f"{path} is not a NeuroQ checkpoint")
        if values["format_version"] not in _READABLE:
            raise CheckpointError(
                f"{path} has checkpoint format {values['format_version']}, this code reads {FORMAT_VERSION}"
            )
        try:
            config = ModelConfig.from_dict(values["config"])
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"{path} has a configuration that this code cannot use: {error}") from error
        tokenizer = values[_TOKENIZER].numpy().tobytes() if _TOKENIZER in values else b""
        return cls(config, values["model"], values["tokenizer_sha256"], values["lineage"], tokenizer)

    def open_tokenizer(self, path: Path | None = None) -> Tokenizer:
        """Return the tokenizer of the file at `path`, without one that of the checkpoint itself.

        Raises TokenizerError, and CheckpointError when it is not the one of the training.
        """
        tokenizer = Tokenizer.load(path) if path else Tokenizer(self.tokenizer_model)
        self.check_tokenizer(tokenizer)
        return tokenizer

    def check_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Raise CheckpointError unless this checkpoint was trained with exactly this tokenizer."""
        if tokenizer.sha256 != self.tokenizer_sha256:
            raise CheckpointError(
                "the checkpoint and the tokenizer do not belong together: the checkpoint was trained with "
                f"tokenizer {self.tokenizer_sha256[:12]}…, this one is {tokenizer.sha256[:12]}…"
            )
        if tokenizer.vocab_size != self.config.vocab_size:
            raise CheckpointError(
                f"the checkpoint has {self.config.vocab_size} symbols, the tokenizer {tokenizer.vocab_size}"
            )

    def build(self) -> NeuroQ:
        """Return the network with these weights. Raises CheckpointError when a tensor does not fit."""
        model = NeuroQ(self.config)
        try:
            model.load_state_dict(self.weights)
        except RuntimeError as error:
            raise CheckpointError(
                f"the checkpoint's tensors do not fit its configuration: {misfit(error)}"
            ) from error
        return model


def tokenizer_path(checkpoint_path: Path) -> Path:
    """Return where a tokenizer lies that is not in its checkpoint: beside it."""
    return checkpoint_path.parent / TOKENIZER_NAME


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def weights_sha256(weights: dict[str, Tensor]) -> str:
    """Return a digest of names and values, the same for the same weights in any file."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def read_tensors(path: Path) -> dict[str, Any]:
    """Read a dictionary of tensors and plain values; no code in the file is run (weights_only)."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch.load does not look at the checksums
        if damaged:
            raise CheckpointError(f"{path} is damaged: the checksum of {damaged} is wrong")
        values = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no checkpoint at {path}") from error
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {reason}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} is not a NeuroQ checkpoint")
    return values


def tensor_writer(values: dict[str, Any]) -> Callable[[BinaryIO], object]:
    """Return what writes a dictionary of tensors and plain values to a file."""

    def write(file: BinaryIO) -> None:
        try:
            torch.save(values, file)
        except RuntimeError as error:  # raised while torch ends an archive that it could not write
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None

    return write


def misfit(error: Exception) -> str:
    """Return the first thing that load_state_dict complains of, as one line."""
    _, *complaints = str(error).splitlines() or [""]
    return complaints[0].strip() if complaints else str(error)
