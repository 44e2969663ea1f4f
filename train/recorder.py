"""What a run leaves behind: scores, and checkpoint, tokenizer, state and report on disk."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import Any

from model import __version__
from model.checkpoint import Checkpoint, file_sha256, weights_sha256
from train.angles import measure_angles
from train.answers import AnswerScore, ask, questions_of
from train.arguments import TrainingArguments
from train.clock import Clock
from train.data import Data
from train.early_stopping import EarlyStopping, Kept, judge
from train.history import MOST_EVALUATIONS, MOST_SAMPLINGS, Evaluation, History, epochs_text, is_due
from train.interruption import deferred, heed
from train.licences import summary
from train.loop import StepReport, Trainer, TrainingError
from train.progress import ProgressBar
from train.report import report_path, write_report
from train.samples import DRAWN, Sample, take_samples
from train.scorer import Scorer, describe, is_useless
from train.state import TrainingState, state_path
from train.summary import Summary
from train.text_quality import TextQuality, measure, measure_documents

_SAVE_EVERY_SECONDS = 60.0
_ASKED_QUESTIONS = 200  # of the text, the first ones
_INTERRUPTED_SCORE_SECONDS = 5.0


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    finished: bool
    checkpoint_path: Path
    metrics: dict[str, Any]
    weights_sha256: str


class Recorder:
    """Evaluates after each epoch and keeps checkpoint, tokenizer and state on disk.

    Nothing here changes the weights or a random state while the run lasts: it is the same with and without
    it. At its end the best weights replace the last ones if there is `patience`.
    """

    def __init__(
        self,
        arguments: TrainingArguments,
        data: Data,
        trainer: Trainer,
        state: TrainingState | None,
        clock: Clock,
        origin: dict[str, Any] | None,
    ) -> None:
        self._arguments, self._data, self._trainer, self._clock = arguments, data, trainer, clock
        self._path, self._origin = Path(arguments.checkpoint_path), origin
        self._saved = time.monotonic()
        self._early_stopping = EarlyStopping(arguments.patience)
        self._epochs_done = float(trainer.position.epoch)
        self._at_epoch_end = trainer.position.epoch > 0 and trainer.position.batch == 0
        self._is_interrupted = False
        self._scorer = Scorer(trainer.model, data)
        self._parent: str | None = None
        self._history, self._metrics, self._tokens_per_second = History(), dict[str, Any](), 0
        if state:
            self._history, self._metrics = state.history, state.metrics
            self._early_stopping.load_state_dict(state.early_stopping)
            if self._path.exists() and (self._history.points or trainer.first_epoch):
                self._parent = file_sha256(self._path)
        if not self._history.evaluations:
            score = self._metrics.get("validation_bits_per_char")
            angles = measure_angles(trainer.model)
            self._history.evaluations.append(Evaluation(self._epochs_done, 0, score, angles))
            if len(data.validation):
                self._history.held_out_text = measure_documents(data.validation, data.tokenizer)

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to train."""
        return self._trainer.is_finished or self._early_stopping.is_over

    def begin(self) -> None:
        """Save the state of a run that has no step yet: what cannot be written is found out now.

        Raises TrainingError, OSError.
        """
        if self._arguments.patience and not len(self._data.validation):
            raise TrainingError("patience needs held-out text: give more documents or validation_fraction")
        if not self._history.points:
            self._save_state()

    def after(self, report: StepReport, progress: ProgressBar) -> None:
        """Evaluate when an epoch has ended, save then and every minute. Raises TrainingError, OSError."""
        if self._early_stopping.is_over:
            return  # the step that told the other processes: it counts for nothing
        if not math.isfinite(report.update.gradient_norm):
            raise TrainingError(f"the gradient's norm is {report.update.gradient_norm}: try a lower --lr")
        self._history.add_step(report)
        self._epochs_done, self._tokens_per_second = report.epochs_done, round(progress.tokens_per_second)
        self._at_epoch_end = self._trainer.position.batch == 0
        if self._at_epoch_end:
            self._evaluate(is_last=self._trainer.is_finished)
            epochs = f"{report.position.epoch + 1}/{self._arguments.epochs}"
            progress.say(f"epoch {epochs}: {describe(self._metrics)}")
        if self._at_epoch_end or time.monotonic() - self._saved > _SAVE_EVERY_SECONDS:
            self._save_state()
            if not self._is_useless:
                self._save_checkpoint(self._early_stopping.best or self._now())

    def finish(self, say: Callable[[str], None], *, with_report: bool) -> Outcome:
        """Save what there is and tell where it lies; a finished run leaves no state to resume."""
        self._is_interrupted = not self.is_over
        if not self._at_epoch_end:
            self._save_state()  # before its last evaluation, which a resumed run would not have made
            self._evaluate(is_last=True)
        if self.is_over:
            heed()  # the last scores and the report may take longer than who sent the signal waits
        kept = self._restore_best(say)
        last = self._scorer.last(self._score_deadline())
        if last.complaint:
            return self._give_up(last.complaint, say)
        metrics = {**kept.metrics, **last.metrics, **self._answers()}
        checkpoint = self._save_checkpoint(replace(kept, metrics=metrics))
        digest = weights_sha256(checkpoint.weights)
        done = "trained" if self.is_over else "interrupted (go on with --resume)"
        say(f"{done} in {self._clock.seconds:.0f} s: {describe(metrics)}")
        if "answers" in metrics:
            say(f"the questions of the text: {AnswerScore(**metrics['answers'])}")
        if self._data.licences:
            say(f"the checkpoint carries text under: {summary(self._data.licences)}")
        if with_report:
            described = self._describe(checkpoint.lineage, digest, self._status(kept))
            write_report(report_path(self._path), described, self._history, say)
        if self.is_over:
            state_path(self._path).unlink(missing_ok=True)
        say(f"checkpoint {self._path}, weights {digest[:12]}…")
        return Outcome(self.is_over, self._path, metrics, digest)

    @property
    def _is_useless(self) -> bool:
        """Whether the last steps show a model that must not replace any other (docs/decisions.md)."""
        guess = math.log2(self._data.tokenizer.vocab_size)
        return is_useless(self._history.recent_bits_per_token, guess)

    def _give_up(self, complaint: str, say: Callable[[str], None]) -> Outcome:
        """Leave the checkpoint as it was. Raises TrainingError at a run's end: its state is of no use."""
        if self.is_over:
            state_path(self._path).unlink(missing_ok=True)
            raise TrainingError(complaint)
        say(f"interrupted; the checkpoint is left as it was, for {complaint}")
        return Outcome(False, self._path, self._metrics, "")

    def fail(self, reason: str, say: Callable[[str], None]) -> None:
        """Leave a report of a run that cannot go on, and everything else as it is."""
        status = f"failed after {epochs_text(self._epochs_done)} of {self._arguments.epochs} epochs: {reason}"
        described = self._describe(self._lineage(self._now()), None, status)
        write_report(report_path(self._path), described, self._history, say)

    def _now(self) -> Kept:
        return Kept(self._epochs_done, self._metrics, self._trainer.model.state_dict())

    def _restore_best(self, say: Callable[[str], None]) -> Kept:
        """Return what the checkpoint keeps, and put it into the model."""
        best = self._early_stopping.best
        if best is None:
            return self._now()
        if self._early_stopping.is_over:
            say(f"stopped early: no better model in {self._arguments.patience} evaluations")
        say(f"kept the best weights, those after epoch {epochs_text(best.epochs_done)}")
        self._trainer.model.load_state_dict(best.weights)
        return best

    def _answers(self) -> dict[str, Any]:
        """Return how the model answers what it was just taught, where that was learned by heart."""
        if not self._arguments.rehearsal or self._is_interrupted:
            return {}
        questions = list(islice(questions_of(self._data.corpus), _ASKED_QUESTIONS))
        if not questions:  # a text without dialogues
            return {}
        network = copy.deepcopy(self._trainer.model).cpu().freeze()
        return {"answers": asdict(AnswerScore.of(ask(network, self._data.tokenizer, questions)))}

    def _score_deadline(self) -> float | None:
        """Return until when text may be scored: who interrupts a run does not wait for long."""
        if self._is_interrupted:
            return time.monotonic() + _INTERRUPTED_SCORE_SECONDS
        return self._clock.score_deadline()

    def _evaluate(self, *, is_last: bool) -> None:
        """Measure the model as it stands, judge it, and put it down if that is due."""
        epochs = self._arguments.epochs
        is_sampled = is_last or is_due(self._epochs_done, epochs, MOST_SAMPLINGS)
        text = self._text_quality() if is_sampled or self._arguments.patience else None
        self._metrics = {
            "tokens_per_second": self._tokens_per_second,
            **self._scorer.validation(self._score_deadline()),
            **({f"text_{name}": round(value, 4) for name, value in vars(text).items()} if text else {}),
        }
        if text and self._arguments.patience and (self._at_epoch_end or self._trainer.is_finished):
            self._judge(text)
        if is_last or self.is_over or is_due(self._epochs_done, epochs, MOST_EVALUATIONS):
            evaluation = Evaluation(
                epoch=self._epochs_done,
                num_steps=self._history.num_steps,
                bits_per_char=self._metrics["validation_bits_per_char"],
                angles=measure_angles(self._trainer.model),
                samples=self._samples() if is_sampled or self.is_over else (),
                text=text,
            )
            self._history.evaluations.append(evaluation)

    def _judge(self, text: TextQuality) -> None:
        held_out = self._history.held_out_text
        assert held_out is not None, "begin() refuses such a run"
        bits_per_char = self._metrics["validation_bits_per_char"]
        self._early_stopping.note(judge(bits_per_char, text, held_out), self._now())

    def _samples(self) -> tuple[Sample, ...]:
        return take_samples(self._trainer.model, self._data.tokenizer, self._data.style)

    def _text_quality(self) -> TextQuality:
        samples = take_samples(self._trainer.model, self._data.tokenizer, self._data.style, DRAWN)
        return measure(sample.text for sample in samples)

    def _save_state(self) -> None:
        position = self._trainer.position
        state = TrainingState(
            arguments=self._arguments,
            config=self._trainer.model.config,
            origin=self._origin,
            data_fingerprint=self._data.fingerprint,
            tokenizer_model=self._data.tokenizer.model_bytes,
            epoch=position.epoch,
            batch=position.batch,
            weights=self._trainer.model.state_dict(),
            optimizer=self._trainer.optimizer.state_dict(),
            seconds=self._clock.seconds,
            first_step=self._clock.first_step or 0.0,
            history=self._history,
            metrics=self._metrics,
            early_stopping=self._early_stopping.state_dict(),
            first_epoch=self._trainer.first_epoch,
        )
        with deferred():
            state.save(state_path(self._path))

    def _save_checkpoint(self, kept: Kept) -> Checkpoint:
        tokenizer = self._data.tokenizer
        checkpoint = Checkpoint(
            config=self._trainer.model.config,
            weights=kept.weights,
            tokenizer_sha256=tokenizer.sha256,
            lineage=self._lineage(kept),
            tokenizer_model=tokenizer.model_bytes,
        )
        with deferred():
            checkpoint.save(self._path)
        self._saved = time.monotonic()
        return checkpoint

    def _status(self, kept: Kept) -> str:
        how = "finished" if self._trainer.is_finished else "stopped early" if self.is_over else "interrupted"
        status = f"{how} after {epochs_text(self._epochs_done)} of {self._arguments.epochs} epochs"
        if kept.epochs_done == self._epochs_done:
            return status
        return f"{status}, with the weights after epoch {epochs_text(kept.epochs_done)}"

    def _describe(self, lineage: dict[str, Any], digest: str | None, status: str) -> Summary:
        return Summary(
            name=self._path.stem,
            status=status,
            seconds=self._clock.seconds,
            num_parameters=self._trainer.model.num_parameters,
            config=self._trainer.model.config,
            weights_sha256=digest,
            tokenizer_sha256=self._data.tokenizer.sha256,
            lineage=lineage,
        )

    def _lineage(self, kept: Kept) -> dict[str, Any]:
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
            "epochs_done": kept.epochs_done,
            "is_finished": self.is_over,
            "metrics": kept.metrics,
            "parent": self._parent,
            "init_from": self._origin,
        }
