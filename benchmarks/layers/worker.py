"""Trains one variant for so many seconds of one processor, and prints what it scores as JSON.

    python -m benchmarks.layers.worker VARIANT SEED SECONDS TEXTS

The time is the process's own: what other programs take of the machine takes nothing from a variant.
"""

from __future__ import annotations

import json
import pickle
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.layers.variants import VARIANTS
from train.arguments import PRESETS, TrainingArguments
from train.beginning import model_config
from train.encoded import EncodedDocuments
from train.loop import Trainer
from train.processes import Alone, prepare_processor
from train.score import score


@dataclass(frozen=True)
class Texts:
    """The encoded training documents, and those that judge."""

    training: EncodedDocuments
    judging: EncodedDocuments
    vocab_size: int


@dataclass(frozen=True)
class Result:
    """What a variant learned in its time."""

    variant: str
    seed: int
    parameters: int
    tokens: int
    seconds: float
    bits_per_char: float


def main(name: str, seed: int, seconds: float, texts: Path) -> None:
    """Train, score and print."""
    data: Texts = pickle.loads(texts.read_bytes())
    variant = VARIANTS[name]
    options = PRESETS["small"] | {"seed": seed, "processes": 1, "epochs": 10_000, "minutes": 0.0}
    options |= {"num_steps": 2, "attention_blend": 0.1}  # the seed's layers
    arguments = TrainingArguments(**options)
    config = model_config(arguments, data.vocab_size, data.training)
    prepare_processor()  # one thread each
    trainer = Trainer(arguments, replace(config, **variant.changes), data.training, variant.build)
    began, tokens = time.process_time(), 0
    for report in trainer.run(Alone(), time_share=lambda: (time.process_time() - began) / seconds):
        tokens += report.num_tokens
    took = time.process_time() - began
    judged = score(trainer.model, data.judging).bits_per_char
    print(json.dumps(asdict(Result(name, seed, trainer.model.num_parameters, tokens, took, judged))))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4]))
