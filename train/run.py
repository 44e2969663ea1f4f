"""One training run from start to end: data, tokenizer, loop, evaluation, files."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model import __version__
from model.checkpoint import Checkpoint, file_sha256, tokenizer_path, weights_sha256
from model.config import ModelConfig
from model.tokenizer import Tokenizer
from train import corpus
from train.arguments import TrainingArguments
from train.corpus import Document
from train.loop import Position, StepReport, Trainer, TrainingError
from train.processes import Group, group
from train.progress import ProgressBar
from train.score import score
from train.state import TrainingState, state_path
from train.tokenizer import affordable_vocab_size, train_tokenizer

_SAVE_EVERY_SECONDS = 60.0
_TRAIN_SCORE_DOCUMENTS = 100


@dataclass(frozen=True)
class Data:
    """The documents of a run, parted, with the tokenizer that reads them."""

    train: list[Document]
    validation: list[Document]
    fingerprint: str
    tokenizer: Tokenizer

    @property
    def style(self) -> str:
        """How the model will be asked: as a dialogue when it saw any, else as text to go on with."""
        return "dialogue" if any(document.turns for document in self.train) else "text"


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    finished: bool
    checkpoint_path: Path
    metrics: dict[str, Any]
    weights_sha256: str


def start(arguments: TrainingArguments, say: Callable[[str], None]) -> Outcome:
    """Train from the beginning. Raises CorpusError, TokenizerError, TrainingError."""
    data = load_data(arguments, say)
    return _run(arguments, data, None, say)


def resume(state: TrainingState, say: Callable[[str], None]) -> Outcome:
    """Go on with an interrupted run, to the same weights as if it had not been interrupted."""
    data = load_data(state.arguments, say, Tokenizer(state.tokenizer_model))
    if data.fingerprint != state.data_fingerprint:
        raise TrainingError("the text has changed since the run began: it cannot be resumed")
    if state.epoch < state.arguments.epochs:
        say(f"resuming in epoch {state.epoch + 1}, batch {state.batch + 1}")
    return _run(state.arguments, data, state, say)


def load_data(
    arguments: TrainingArguments, say: Callable[[str], None], tokenizer: Tokenizer | None = None
) -> Data:
    """Read and split the text, and train the tokenizer on the training part unless there is one."""
    documents = corpus.read_documents(arguments.texts or (str(corpus.BUILT_IN),))
    train, validation = corpus.split(documents, arguments.validation_fraction)
    say(f"{len(train)} documents to train on, {len(validation)} held out for validation")
    if tokenizer is None and arguments.tokenizer_path:
        tokenizer = Tokenizer.load(Path(arguments.tokenizer_path))
    if tokenizer is None:
        vocab_size = affordable_vocab_size(arguments.vocab_size, train)
        tokenizer = train_tokenizer(train, vocab_size)
        if tokenizer.vocab_size < arguments.vocab_size:
            say(f"the text carries {tokenizer.vocab_size} symbols, not {arguments.vocab_size}")
    return Data(train, validation, corpus.fingerprint(documents), tokenizer)


def model_config(arguments: TrainingArguments, vocab_size: int) -> ModelConfig:
    """Return the network's configuration: it has the positions that training covers, no more."""
    return ModelConfig(
        vocab_size=vocab_size,
        embed_dim=arguments.embed_dim,
        num_heads=arguments.num_heads,
        num_layers=arguments.num_layers,
        num_neurons=arguments.num_neurons,
        context_length=arguments.seq_length,
        dropout=arguments.dropout,
    )


def make_trainer(
    arguments: TrainingArguments, vocab_size: int, documents: list[np.ndarray], state: TrainingState | None
) -> Trainer:
    """Return a trainer at the beginning, or where `state` left off."""
    trainer = Trainer(arguments, model_config(arguments, vocab_size), documents)
    if state:
        trainer.model.load_state_dict(state.weights)
        trainer.optimizer.load_state_dict(state.optimizer)
        trainer.position = Position(state.epoch, state.batch)
    return trainer


def _work(group: Group, *trainer_arguments: Any) -> None:
    """What the processes beside the first do: the same steps, without a word."""
    for _ in make_trainer(*trainer_arguments).run(group):
        pass


def _run(
    arguments: TrainingArguments, data: Data, state: TrainingState | None, say: Callable[[str], None]
) -> Outcome:
    encoded = [np.array(document.encode(data.tokenizer)) for document in data.train]
    if torch.cuda.is_available():
        arguments = replace(arguments, processes=1)  # one device; torchrun is the way to more
    else:
        torch.set_num_threads(1 if arguments.processes > 1 else torch.get_num_threads())
    parts = (arguments, data.tokenizer.vocab_size, encoded, state)
    trainer = make_trainer(*parts)
    say(
        f"{trainer.model.num_parameters:,} parameters, "
        f"{sum(len(ids) - 1 for ids in encoded):,} tokens an epoch, "
        f"{arguments.processes} process(es), {trainer.precision}"
    )
    recorder = Recorder(arguments, data, trainer, state.seconds if state else 0.0)
    with (
        _interruptible() as interrupted,
        group(arguments.processes, _work, *parts) as members,
        ProgressBar(arguments.epochs) as progress,
    ):
        for report in trainer.run(members, interrupted):
            progress.step(report)
            recorder.after(report, progress)
    return recorder.finish(say)


class Recorder:
    """Evaluates after each epoch and keeps checkpoint, tokenizer and state on disk."""

    def __init__(self, arguments: TrainingArguments, data: Data, trainer: Trainer, seconds: float) -> None:
        self._arguments, self._data, self._trainer = arguments, data, trainer
        self._path = Path(arguments.checkpoint_path)
        self._parent = file_sha256(self._path) if self._path.exists() and seconds else None
        self._started = time.monotonic() - seconds
        self._saved = time.monotonic()
        self._metrics: dict[str, Any] = {}

    def after(self, report: StepReport, progress: ProgressBar) -> None:
        """Evaluate and save when an epoch has ended, the run was stopped, or a minute has passed."""
        epoch_ended = self._trainer.position.batch == 0
        if epoch_ended:
            self._metrics = self._evaluate()
            self._metrics["tokens_per_second"] = round(progress.tokens_per_second)
            progress.say(f"epoch {report.position.epoch + 1}/{self._arguments.epochs}: {self._summary()}")
        if epoch_ended or report.stopped or time.monotonic() - self._saved > _SAVE_EVERY_SECONDS:
            self.save()

    def finish(self, say: Callable[[str], None]) -> Outcome:
        """Save what there is and tell where it lies."""
        self._metrics = self._metrics or self._evaluate()
        self.save()
        digest = weights_sha256(self._trainer.model.state_dict())
        done = "trained" if self._trainer.is_finished else "interrupted (go on with --resume)"
        say(f"{done} in {time.monotonic() - self._started:.0f} s: {self._summary()}")
        say(f"checkpoint {self._path}, weights {digest[:12]}…")
        return Outcome(self._trainer.is_finished, self._path, self._metrics, digest)

    def save(self) -> None:
        """Write state, tokenizer and checkpoint, each atomically."""
        self._saved = time.monotonic()
        weights = self._trainer.model.state_dict()
        self._state(weights).save(state_path(self._path))
        tokenizer = tokenizer_path(self._path)
        tokenizer.with_suffix(".tmp").write_bytes(self._data.tokenizer.model_bytes)
        tokenizer.with_suffix(".tmp").replace(tokenizer)
        config = self._trainer.model.config
        Checkpoint(config, weights, self._data.tokenizer.sha256, self._lineage()).save(self._path)

    def _evaluate(self) -> dict[str, Any]:
        count = max(len(self._data.validation), _TRAIN_SCORE_DOCUMENTS)
        sample = sorted(self._data.train, key=lambda document: document.digest)[:count]
        parts = {"train": sample, "validation": self._data.validation}
        return {
            f"{name}_bits_per_char": round(
                score(self._trainer.model, self._data.tokenizer, documents).bits_per_char, 4
            )
            if documents
            else None
            for name, documents in parts.items()
        }

    def _summary(self) -> str:
        train, validation = (self._metrics[f"{name}_bits_per_char"] for name in ("train", "validation"))
        held_out = "no validation text" if validation is None else f"validation {validation:.3f}"
        return f"bits per character: train {train:.3f}, {held_out}"

    def _state(self, weights: dict[str, torch.Tensor]) -> TrainingState:
        position = self._trainer.position
        return TrainingState(
            arguments=self._arguments,
            data_fingerprint=self._data.fingerprint,
            tokenizer_model=self._data.tokenizer.model_bytes,
            epoch=position.epoch,
            batch=position.batch,
            weights=weights,
            optimizer=self._trainer.optimizer.state_dict(),
            seconds=time.monotonic() - self._started,
        )

    def _lineage(self) -> dict[str, Any]:
        documents = self._data.train + self._data.validation
        return {
            "code_version": __version__,
            "trained_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "style": self._data.style,
            "data": {
                "sources": list(self._arguments.texts) or ["built-in corpus"],
                "fingerprint": self._data.fingerprint,
                "documents": len(documents),
                "characters": sum(document.num_characters for document in documents),
            },
            "arguments": self._arguments.to_dict(),
            "precision": self._trainer.precision,
            "epochs_done": self._trainer.position.epoch,
            "metrics": self._metrics,
            "parent": self._parent,
        }


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether Ctrl-C or SIGTERM came; a second one ends at once."""
    caught: list[int] = []

    def note(number: int, _frame: object) -> None:
        caught.append(number)
        for each, handler in before.items():
            signal.signal(each, handler)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
