"""One training run from start to end: data, tokenizer, loop, evaluation, files."""

from __future__ import annotations

import fcntl
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.config import ModelConfig
from model.tokenizer import Tokenizer
from train import corpus
from train.arguments import TrainingArguments
from train.batches import EncodedDocument, covered_positions
from train.clock import Clock
from train.licences import licences_of
from train.loop import Position, Trainer, TrainingError
from train.processes import Group, group
from train.progress import ProgressBar
from train.recorder import Data, Outcome, Recorder
from train.state import TrainingState
from train.tokenizer import affordable_vocab_size, train_tokenizer


def start(
    arguments: TrainingArguments,
    say: Callable[[str], None],
    *,
    with_report: bool = True,
    progress_path: Path | None = None,
) -> Outcome:
    """Train from the beginning. Raises CorpusError, TokenizerError, TrainingError."""
    clock = Clock(arguments.minutes)
    with _only_run(Path(arguments.checkpoint_path)):
        data = load_data(arguments, say)
        return _run(arguments, data, None, clock, say, with_report=with_report, progress_path=progress_path)


def resume(state: TrainingState, say: Callable[[str], None], *, with_report: bool = True) -> Outcome:
    """Go on with an interrupted run, to the same weights as if it had not been interrupted."""
    clock = Clock(state.arguments.minutes, state.seconds, state.first_step)
    with _only_run(Path(state.arguments.checkpoint_path)):
        data = load_data(state.arguments, say, Tokenizer(state.tokenizer_model))
        if data.fingerprint != state.data_fingerprint:
            raise TrainingError("the text has changed since the run began: it cannot be resumed")
        say(f"resuming in epoch {state.epoch + 1}, batch {state.batch + 1}")
        return _run(state.arguments, data, state, clock, say, with_report=with_report)


def load_data(
    arguments: TrainingArguments, say: Callable[[str], None], tokenizer: Tokenizer | None = None
) -> Data:
    """Read and split the text, and train the tokenizer on the training part unless there is one."""
    texts = arguments.texts or (str(corpus.BUILT_IN),)
    documents = corpus.read_documents(texts)
    train, validation = corpus.split(documents, arguments.validation_fraction)
    say(f"{len(train)} documents to train on, {len(validation)} held out for validation")
    if tokenizer is None and arguments.tokenizer_path:
        tokenizer = Tokenizer.load(Path(arguments.tokenizer_path))
    if tokenizer is None:
        vocab_size = affordable_vocab_size(arguments.vocab_size, train)
        tokenizer = train_tokenizer(train, vocab_size)
        if tokenizer.vocab_size < arguments.vocab_size:
            say(f"the text carries {tokenizer.vocab_size} symbols, not {arguments.vocab_size}")
    licences = licences_of(corpus.files_of(texts))
    return Data(train, validation, corpus.fingerprint(documents), tokenizer, licences)


def model_config(
    arguments: TrainingArguments, vocab_size: int, documents: list[EncodedDocument]
) -> ModelConfig:
    """Return the network's configuration: it has the positions that training covers, no more."""
    covered = covered_positions(documents, length=arguments.seq_length, join=arguments.join)
    return ModelConfig(
        vocab_size=vocab_size,
        embed_dim=arguments.embed_dim,
        num_heads=arguments.num_heads,
        num_layers=arguments.num_layers,
        num_neurons=arguments.num_neurons,
        context_length=max(covered, 2),
        dropout=arguments.dropout,
        rotary=arguments.rotary,
        tied=arguments.tied,
    )


def make_trainer(
    arguments: TrainingArguments,
    vocab_size: int,
    documents: list[EncodedDocument],
    state: TrainingState | None,
) -> Trainer:
    """Return a trainer at the beginning, or where `state` left off."""
    trainer = Trainer(arguments, model_config(arguments, vocab_size, documents), documents)
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
    arguments: TrainingArguments,
    data: Data,
    state: TrainingState | None,
    clock: Clock,
    say: Callable[[str], None],
    *,
    with_report: bool,
    progress_path: Path | None = None,
) -> Outcome:
    encoded = [
        EncodedDocument(np.array(document.encode(data.tokenizer)), bool(document.turns))
        for document in data.train
    ]
    if torch.cuda.is_available():
        arguments = replace(arguments, processes=1)  # one device; torchrun is the way to more
    else:
        torch.set_num_threads(1 if arguments.processes > 1 else torch.get_num_threads())
    parts = (arguments, data.tokenizer.vocab_size, encoded, state)
    trainer = make_trainer(*parts)
    say(
        f"{trainer.model.num_parameters:,} parameters, "
        f"{sum(len(document.ids) - 1 for document in encoded):,} tokens an epoch, "
        f"context {trainer.model.config.context_length} tokens, "
        f"{arguments.processes} process(es), {trainer.precision}"
    )
    recorder = Recorder(arguments, data, trainer, state, clock)
    with (
        _interruptible() as interrupted,
        group(arguments.processes, _work, *parts) as members,
        ProgressBar(progress_path) as progress,
    ):
        for report in trainer.run(members, interrupted, clock.share):
            progress.step(report)
            recorder.after(report, progress)
    return recorder.finish(say, with_report=with_report)


@contextmanager
def _only_run(checkpoint_path: Path) -> Iterator[None]:
    """Keep two runs from writing one checkpoint. Raises TrainingError for the second."""
    checkpoint_path.parent.mkdir(parents=True, exist_ok=True)
    with checkpoint_path.with_name(f".{checkpoint_path.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise TrainingError(f"another run is writing {checkpoint_path}") from error
        yield


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
