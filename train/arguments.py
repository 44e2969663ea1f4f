"""The arguments of a training run: the seed's names, the seed's defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

DEFAULT_CHECKPOINT_PATH = "checkpoints/neuroq_checkpoint.pt"

_RANGES: dict[str, tuple[float, float]] = {
    "epochs": (1, 100_000),
    "minutes": (0.0, 1_000_000.0),
    "batch_size": (1, 65_536),
    "gradient_accumulation_steps": (1, 65_536),
    "lr": (1e-8, 10.0),
    "matrix_lr": (1e-8, 10.0),
    "join": (0.0, 1.0),
    "rehearsal": (0.0, 0.99),
    "copies": (1, 1000),
    "seq_length": (8, 65_536),
    "vocab_size": (300, 1_000_000),
    "validation_fraction": (0.0, 0.9),
    "weight_decay": (0.0, 1.0),
    "warmup": (0.0, 1.0),
    "dropout": (0.0, 0.99),
    "word_dropout": (0.0, 0.99),
    "seed": (0, 2**63 - 1),
    "processes": (1, 1_024),
    "patience": (0, 100_000),
}
PRECISIONS = ("auto", "fp32", "bf16")
OPTIMIZERS = ("muon", "adamw")


@dataclass(frozen=True)
class TrainingArguments:
    """What fixes a run: the same arguments and text give the same checkpoint on the same machine.

    `texts` are files, folders or `-`; none means the built-in corpus. `batch_size` counts windows of
    `seq_length` tokens, over all processes together; a step takes `gradient_accumulation_steps` batches one
    after the other. `warmup` is a share of the run. With `minutes` the run ends when they or the epochs are
    over, and how far it gets depends on the machine. With `patience` it ends after so many evaluations
    without a better one, and the best weights are kept (train/early_stopping.py).
    """

    texts: tuple[str, ...] = ()
    epochs: int = 25
    minutes: float = 0.0
    batch_size: int = 16
    gradient_accumulation_steps: int = 1
    lr: float = 0.002
    seq_length: int = 48
    checkpoint_path: str = DEFAULT_CHECKPOINT_PATH
    tokenizer_path: str | None = None
    init_from: str | None = None
    vocab_size: int = 8000
    validation_fraction: float = 0.05
    join: float = 0.5
    vary: bool = False
    rehearsal: float = 0.0
    copies: int = 1
    refuse: bool = True
    embed_dim: int = 128
    num_heads: int = 4
    num_layers: int = 3
    num_neurons: int = 100
    num_steps: int = 2
    attention_blend: float = 0.1
    dropout: float = 0.1
    word_dropout: float = 0.0
    rotary: bool = True
    tied: bool = False
    optimizer: str = "muon"
    matrix_lr: float = 0.02
    weight_decay: float = 0.05
    warmup: float = 0.05
    precision: str = "auto"
    processes: int = 2
    seed: int = 0
    patience: int = 0

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must be between {low:g} and {high:g}, got {value:g}")
        for name, allowed in (("optimizer", OPTIMIZERS), ("precision", PRECISIONS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")

    def to_dict(self) -> dict[str, Any]:
        """Return a plain dictionary that `from_dict` reads back, paths absolute: it may be read elsewhere."""
        places = {"checkpoint_path": _absolute(self.checkpoint_path)}
        if self.tokenizer_path:
            places["tokenizer_path"] = _absolute(self.tokenizer_path)
        return asdict(self) | places | {"texts": [_absolute(text) for text in self.texts]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainingArguments:
        """Read a dictionary made by `to_dict`."""
        known = {field.name for field in fields(cls)}
        return cls(**{**{k: v for k, v in values.items() if k in known}, "texts": tuple(values["texts"])})


def _absolute(place: str) -> str:
    """Return a path as it is read from anywhere; `-` is none."""
    return place if place == "-" else str(Path(place).absolute())


# A preset replaces defaults; an argument that is given replaces the preset's.
PRESETS: dict[str, dict[str, Any]] = {
    "seed": {},
    # A text of a million characters or more, for as many minutes as there are: the whole context, few passes.
    "small": {
        "epochs": 8,
        "minutes": 20.0,
        "batch_size": 8,
        "seq_length": 256,
        "num_steps": 1,
        "attention_blend": 0.5,
        "lr": 0.006,
        "matrix_lr": 0.02,
        "dropout": 0.0,
        "validation_fraction": 0.01,
    },
    # About 100 million parameters on a text of gigabytes, for machines with a GPU or many cores.
    "base": {
        "epochs": 1,
        "batch_size": 16,
        "gradient_accumulation_steps": 8,
        "seq_length": 512,
        "vocab_size": 32_000,
        "embed_dim": 640,
        "num_heads": 10,
        "num_layers": 12,
        "num_neurons": 256,
        "num_steps": 1,
        "attention_blend": 0.5,
        "tied": True,
        "lr": 0.003,
        "matrix_lr": 0.01,
        "dropout": 0.0,
        "validation_fraction": 0.001,
    },
    # A small text within two minutes: from the shipped model, in many wordings, beside built-in dialogues.
    "tune": {
        "init_from": "builtin",
        "epochs": 1,
        "batch_size": 8,
        "lr": 0.003,
        "matrix_lr": 0.01,
        "dropout": 0.0,
        "word_dropout": 0.1,
        "vary": True,
        "rehearsal": 0.5,
        "validation_fraction": 0.0,
    },
    # How the shipped model learned the built-in corpus, from a base that knows Japanese (pretrained/make).
    "chat": {
        "epochs": 2,
        "batch_size": 8,
        "lr": 0.003,
        "matrix_lr": 0.012,
        "dropout": 0.0,
        "word_dropout": 0.1,
        "vary": True,
        "copies": 3,
        "validation_fraction": 0.01,
    },
    # The built-in corpus within minutes on two cores: the whole context, larger steps, fewer passes.
    "builtin": {
        "epochs": 1,
        "batch_size": 8,
        "seq_length": 256,
        "lr": 0.006,
        "dropout": 0.0,
        "word_dropout": 0.1,
        "matrix_lr": 0.03,
        "validation_fraction": 0.02,
    },
}
