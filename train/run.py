"""One training run from start to end: data, tokenizer, loop, evaluation, files."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from model.checkpoint import misfit
from model.config import ModelConfig
from model.tokenizer import Tokenizer
from train import torchrun
from train.arguments import TrainingArguments
from train.clock import Clock
from train.data import Data, load_data
from train.encoded import EncodedDocuments
from train.estimate import estimate
from train.interruption import INTERRUPTED, give_way, noted
from train.loop import Position, Trainer, TrainingError
from train.plan import covered_positions
from train.processes import Group, GroupError, group, prepare_processor
from train.progress import ProgressBar
from train.recorder import Outcome, Recorder
from train.state import TrainingState
from train.token_cache import TokenCache


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


def resume(
    state: TrainingState,
    say: Callable[[str], None],
    *,
    with_report: bool = True,
    progress_path: Path | None = None,
) -> Outcome:
    """Go on with an interrupted run, to the same weights as if it had not been interrupted."""
    if torchrun.is_launched() and torchrun.world_size() != state.arguments.processes:
        raise TrainingError(
            f"the run began with {state.arguments.processes} process(es), it cannot be resumed with "
            f"{torchrun.world_size()}"
        )
    clock = Clock(state.arguments.minutes, state.seconds, state.first_step)
    with _only_run(Path(state.arguments.checkpoint_path)):
        tokenizer = Tokenizer(state.tokenizer_model)
        data = load_data(state.arguments, say, tokenizer, state.data_fingerprint)
        say(f"resuming in epoch {state.epoch + 1}, batch {state.batch + 1}")
        return _run(
            state.arguments, data, state, clock, say, with_report=with_report, progress_path=progress_path
        )


def model_config(arguments: TrainingArguments, vocab_size: int, documents: EncodedDocuments) -> ModelConfig:
    """Return the network's configuration: it has the positions that training covers, no more."""
    covered = covered_positions(documents, length=arguments.seq_length, join=arguments.join)
    return ModelConfig(
        vocab_size=vocab_size,
        embed_dim=arguments.embed_dim,
        num_heads=arguments.num_heads,
        num_layers=arguments.num_layers,
        num_neurons=arguments.num_neurons,
        num_steps=arguments.num_steps,
        attention_blend=arguments.attention_blend,
        context_length=max(covered, 2),
        dropout=arguments.dropout,
        rotary=arguments.rotary,
        tied=arguments.tied,
    )


def make_trainer(
    arguments: TrainingArguments,
    vocab_size: int,
    documents: EncodedDocuments,
    state: TrainingState | None,
) -> Trainer:
    """Return a trainer at the beginning, or where `state` left off. Raises TrainingError."""
    trainer = Trainer(arguments, model_config(arguments, vocab_size, documents), documents)
    if state:
        try:
            trainer.model.load_state_dict(state.weights)
            if state.optimizer:  # a finished run has left none
                trainer.optimizer.load_state_dict(state.optimizer)
        except (RuntimeError, ValueError, KeyError) as error:
            raise TrainingError(f"the state is that of another network: {misfit(error)}") from error
        trainer.position, trainer.first_epoch = Position(state.epoch, state.batch), state.first_epoch
    return trainer


def follow() -> int:
    """Do what the processes that torchrun started beside the first do, and return the exit code.

    A TrainingError comes to all of them, and the first one tells it.
    """
    finished = False

    def work(group: Group, *parts: Any) -> None:
        nonlocal finished
        with noted(is_patient=True) as interrupted:
            finished = _work(group, interrupted, *parts)

    give_way()
    try:
        torchrun.follow(work)
    except (TrainingError, GroupError):
        return 1
    return 0 if finished else INTERRUPTED


def _help(group: Group, *parts: Any) -> None:
    """Do what the processes do that the first one started: a signal that only they hear stops all."""
    with noted(is_patient=True) as interrupted:
        _work(group, interrupted, *parts)


def _work(
    group: Group,
    should_stop: Callable[[], bool],
    arguments: TrainingArguments,
    vocab_size: int,
    cache: Path,
    state: TrainingState | None,
) -> bool:
    """Do the same steps as the first process, without a word; tell whether the run finished."""
    trainer = make_trainer(arguments, vocab_size, TokenCache.open(cache).train, state)
    for _ in trainer.run(group, should_stop):
        pass
    return trainer.is_finished


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
    arguments = _with_processes(arguments)
    vocab_size = data.tokenizer.vocab_size
    _tell_estimate(arguments, data, state, say)
    trainer = make_trainer(arguments, vocab_size, data.train, state)
    say(
        f"{trainer.model.num_parameters:,} parameters, "
        f"{data.train.num_predicted:,} tokens an epoch, "
        f"context {trainer.model.config.context_length} tokens, "
        f"{arguments.processes} process(es), {trainer.precision}"
    )
    recorder = Recorder(arguments, data, trainer, state, clock)
    recorder.begin()
    try:
        if not recorder.is_over:
            parts = (arguments, vocab_size, data.cache.folder, state)
            _train(trainer, recorder, clock, parts, progress_path)
        return recorder.finish(say, with_report=with_report)
    except TrainingError as error:
        if with_report:
            recorder.fail(str(error), say)
        raise


def _train(
    trainer: Trainer, recorder: Recorder, clock: Clock, parts: tuple[Any, ...], progress_path: Path | None
) -> None:
    with (
        noted() as interrupted,
        _group(trainer, *parts) as members,
        ProgressBar(progress_path) as progress,
    ):
        for report in trainer.run(members, lambda: interrupted() or recorder.is_over, clock.share):
            progress.step(report)
            recorder.after(report, progress)


def _tell_estimate(
    arguments: TrainingArguments, data: Data, state: TrainingState | None, say: Callable[[str], None]
) -> None:
    config = model_config(arguments, data.tokenizer.vocab_size, data.train)
    epochs = arguments.epochs - (state.epoch if state else 0)
    told = estimate(arguments, config, data.train.num_predicted, epochs)
    say(str(told))
    if told.warning:
        say(told.warning)


def _with_processes(arguments: TrainingArguments) -> TrainingArguments:
    """Return the arguments with the number of processes that the run really has."""
    if torchrun.is_launched():
        return replace(arguments, processes=torchrun.world_size())
    if torch.cuda.is_available():
        return replace(arguments, processes=1)  # one device; torchrun is the way to more
    prepare_processor()
    return arguments


def _group(trainer: Trainer, *parts: Any) -> AbstractContextManager[Group]:
    """Bring together the processes of the run."""
    if torchrun.is_launched():
        return torchrun.lead(*parts)
    return group(trainer.arguments.processes, trainer.message_size, _help, *parts)


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
