"""What a run leaves behind: scores, and checkpoint, tokenizer, state and report on disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from torch import Tensor

from model import __version__
from model.checkpoint import Checkpoint, file_sha256, tokenizer_path, weights_sha256
from train.angles import measure_angles
from train.arguments import TrainingArguments
from train.clock import Clock
from train.data import Data
from train.encoded import EncodedDocument, EncodedDocuments
from train.history import MOST_EVALUATIONS, MOST_SAMPLINGS, Evaluation, History, is_due
from train.licences import summary
from train.loop import StepReport, Trainer
from train.precision import bits_per_char_by_precision
from train.progress import ProgressBar
from train.report import report_path, write_report
from train.samples import take_samples
from train.score import score
from train.state import TrainingState, state_path
from train.summary import Summary

_SAVE_EVERY_SECONDS = 60.0
_TRAIN_SCORE_DOCUMENTS = 100
_Parts = dict[str, EncodedDocuments | list[EncodedDocument]]


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    finished: bool
    checkpoint_path: Path
    metrics: dict[str, Any]
    weights_sha256: str


class Recorder:
    """Evaluates after each epoch and keeps checkpoint, tokenizer and state on disk.

    Nothing here changes the weights or a random state: a run is the same with and without it.
    """

    def __init__(
        self,
        arguments: TrainingArguments,
        data: Data,
        trainer: Trainer,
        state: TrainingState | None,
        clock: Clock,
    ) -> None:
        self._arguments, self._data, self._trainer, self._clock = arguments, data, trainer, clock
        self._path = Path(arguments.checkpoint_path)
        self._parent = file_sha256(self._path) if self._path.exists() and state else None
        self._saved = time.monotonic()
        self._metrics: dict[str, Any] = {}
        self._history = state.history if state else History()
        if state is None:
            self._history.evaluations.append(Evaluation(0, 0, None, measure_angles(trainer.model)))

    def after(self, report: StepReport, progress: ProgressBar) -> None:
        """Evaluate and save when an epoch has ended, the run was stopped, or a minute has passed."""
        self._history.add_step(report)
        epoch_ended = self._trainer.position.batch == 0
        self._metrics["tokens_per_second"] = round(progress.tokens_per_second)
        if epoch_ended:
            self._metrics |= self._evaluate({"validation": self._data.validation})
            self._record(report.position.epoch + 1)
            progress.say(f"epoch {report.position.epoch + 1}/{self._arguments.epochs}: {self._summary()}")
        if epoch_ended or report.stopped or time.monotonic() - self._saved > _SAVE_EVERY_SECONDS:
            self.save()

    def finish(self, say: Callable[[str], None], *, with_report: bool) -> Outcome:
        """Save what there is and tell where it lies; a finished run leaves no state to resume."""
        parts: _Parts = {"train": self._data.train.sample(_TRAIN_SCORE_DOCUMENTS)}
        was_scored = self._trainer.position.batch == 0 and "validation_bits_per_char" in self._metrics
        if not was_scored:  # by the epoch's end
            parts["validation"] = self._data.validation
        self._metrics |= self._evaluate(parts)
        self._metrics["bits_per_char_by_precision"] = bits_per_char_by_precision(
            self._trainer.model, self._data.validation
        )
        checkpoint = self.save()
        if self._trainer.is_finished:
            state_path(self._path).unlink(missing_ok=True)
        digest = weights_sha256(checkpoint.weights)
        done = "trained" if self._trainer.is_finished else "interrupted (go on with --resume)"
        say(f"{done} in {self._clock.seconds:.0f} s: {self._summary()}")
        if self._data.licences:
            say(f"the checkpoint carries text under: {summary(self._data.licences)}")
        if with_report:
            write_report(report_path(self._path), self._describe(checkpoint, digest), self._history, say)
        say(f"checkpoint {self._path}, weights {digest[:12]}…")
        return Outcome(self._trainer.is_finished, self._path, self._metrics, digest)

    def save(self) -> Checkpoint:
        """Write state, tokenizer and checkpoint, each atomically; return the checkpoint."""
        self._saved = time.monotonic()
        weights = self._trainer.model.state_dict()
        self._state(weights).save(state_path(self._path))
        tokenizer = tokenizer_path(self._path)
        tokenizer.with_suffix(".tmp").write_bytes(self._data.tokenizer.model_bytes)
        tokenizer.with_suffix(".tmp").replace(tokenizer)
        config = self._trainer.model.config
        checkpoint = Checkpoint(config, weights, self._data.tokenizer.sha256, self._lineage())
        checkpoint.save(self._path)
        return checkpoint

    def _record(self, epoch: int) -> None:
        """Put down where the model stands after `epoch` epochs."""
        model, epochs = self._trainer.model, self._arguments.epochs
        if is_due(epoch, epochs, MOST_EVALUATIONS):
            sampling = is_due(epoch, epochs, MOST_SAMPLINGS)
            evaluation = Evaluation(
                epoch=epoch,
                num_steps=self._history.num_steps,
                bits_per_char=self._metrics["validation_bits_per_char"],
                angles=measure_angles(model),
                samples=take_samples(model, self._data.tokenizer, self._data.style) if sampling else (),
            )
            self._history.evaluations.append(evaluation)

    def _evaluate(self, parts: _Parts) -> dict[str, Any]:
        """Return NAME_bits_per_char of each part, None for a part without documents."""
        model = self._trainer.model
        return {
            f"{name}_bits_per_char": round(score(model, part).bits_per_char, 4) if len(part) else None
            for name, part in parts.items()
        }

    def _summary(self) -> str:
        scores = {name: self._metrics.get(f"{name}_bits_per_char") for name in ("train", "validation")}
        known = [f"{name} {value:.3f}" for name, value in scores.items() if value is not None]
        return f"bits per character: {', '.join(known) or 'no text is held out'}"

    def _state(self, weights: dict[str, Tensor]) -> TrainingState:
        position = self._trainer.position
        return TrainingState(
            arguments=self._arguments,
            data_fingerprint=self._data.fingerprint,
            tokenizer_model=self._data.tokenizer.model_bytes,
            epoch=position.epoch,
            batch=position.batch,
            weights=weights,
            optimizer=self._trainer.optimizer.state_dict(),
            seconds=self._clock.seconds,
            first_step=self._clock.first_step or 0.0,
            history=self._history,
        )

    def _describe(self, checkpoint: Checkpoint, digest: str) -> Summary:
        return Summary(
            name=self._path.stem,
            is_finished=self._trainer.is_finished,
            seconds=self._clock.seconds,
            num_parameters=self._trainer.model.num_parameters,
            config=checkpoint.config,
            weights_sha256=digest,
            tokenizer_sha256=checkpoint.tokenizer_sha256,
            lineage=checkpoint.lineage,
        )

    def _lineage(self) -> dict[str, Any]:
        parts = (self._data.train, self._data.validation)
        return {
            "code_version": __version__,
            "trained_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "style": self._data.style,
            "data": {
                "sources": list(self._arguments.texts) or ["built-in corpus"],
                "fingerprint": self._data.fingerprint,
                "documents": sum(map(len, parts)),
                "characters": sum(part.num_characters for part in parts),
                "licences": self._data.licences,
            },
            "arguments": self._arguments.to_dict(),
            "precision": self._trainer.precision,
            "epochs_done": self._trainer.position.epoch,
            "metrics": self._metrics,
            "parent": self._parent,
        }
