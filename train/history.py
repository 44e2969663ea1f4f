"""The record of a run: what its steps and evaluations brought, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from typing import Any

from train.angles import LayerAngles
from train.loop import StepReport
from train.samples import Sample
from train.text_quality import TextQuality

MOST_POINTS = 2000  # even: neighbours are joined in pairs
MOST_EVALUATIONS = 100
MOST_SAMPLINGS = 10
_RECENT = 20  # points


@dataclass(frozen=True)
class Point:
    """Consecutive steps taken together; the learning rates are those of the last one.

    The gradient norm, before clipping, is the largest: a spike must not vanish in a mean.
    """

    num_steps: int
    num_tokens: int
    seconds: float
    bits: float
    lr: float
    matrix_lr: float
    gradient_norm: float

    @property
    def bits_per_token(self) -> float:
        """Mean loss."""
        return self.bits / max(self.num_tokens, 1)

    @property
    def tokens_per_second(self) -> float:
        """Speed of the steps alone, without evaluation and saving."""
        return self.num_tokens / max(self.seconds, 1e-9)

    def joined(self, later: Point) -> Point:
        """Return this point and the one after it as one."""
        return Point(
            num_steps=self.num_steps + later.num_steps,
            num_tokens=self.num_tokens + later.num_tokens,
            seconds=self.seconds + later.seconds,
            bits=self.bits + later.bits,
            lr=later.lr,
            matrix_lr=later.matrix_lr,
            gradient_norm=max(self.gradient_norm, later.gradient_norm),
        )


@dataclass(frozen=True)
class Evaluation:
    """Where the model stood after `epoch` epochs, a fraction when a run's minutes were over within one.

    0 is the untrained model, which has no score. Most evaluations have no `samples` (MOST_SAMPLINGS) and no
    `text`, the quality of what was drawn for the fixed prompts.
    """

    epoch: float
    num_steps: int
    bits_per_char: float | None
    angles: tuple[LayerAngles, ...]
    samples: tuple[Sample, ...] = ()
    text: TextQuality | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Evaluation:
        """Read what dataclasses.asdict made."""
        angles = tuple(LayerAngles.from_dict(each) for each in values["angles"])
        samples = tuple(Sample(**each) for each in values["samples"])
        text = values["text"] and TextQuality(**values["text"])
        return cls(**{**values, "angles": angles, "samples": samples, "text": text})


@dataclass
class History:
    """Points and evaluations of a run from its first step, over interruptions.

    `held_out_text` is what the quality of the model's text is compared with, None without held-out text.
    """

    points: list[Point] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    held_out_text: TextQuality | None = None

    def add_step(self, report: StepReport) -> None:
        """Take up a step; at MOST_POINTS neighbours are joined, and a point covers twice as many steps."""
        point = Point(
            num_steps=1,
            num_tokens=report.num_tokens,
            seconds=report.seconds,
            bits=report.nats / math.log(2),
            lr=report.update.lr,
            matrix_lr=report.update.matrix_lr,
            gradient_norm=report.update.gradient_norm,
        )
        if self.points and self.points[-1].num_steps < self.points[0].num_steps:
            self.points[-1] = self.points[-1].joined(point)
            return
        if len(self.points) == MOST_POINTS:
            pairs = zip(self.points[::2], self.points[1::2], strict=True)
            self.points = [one.joined(two) for one, two in pairs]
        self.points.append(point)

    @property
    def num_steps(self) -> int:
        """Steps so far."""
        return sum(point.num_steps for point in self.points)

    @property
    def recent_bits_per_token(self) -> float:
        """Mean loss of the last points, 0 before the first one."""
        last = self.points[-_RECENT:]
        return sum(point.bits for point in last) / max(sum(point.num_tokens for point in last), 1)

    @property
    def tokens_seen(self) -> list[int]:
        """For each point: the tokens of all steps up to its end."""
        return list(accumulate(point.num_tokens for point in self.points))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `from_dict` reads back."""
        return {
            "points": [vars(point) for point in self.points],
            "evaluations": [asdict(evaluation) for evaluation in self.evaluations],
            "held_out_text": self.held_out_text and vars(self.held_out_text),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> History:
        """Read a dictionary made by `to_dict`."""
        points = [Point(**each) for each in values["points"]]
        evaluations = [Evaluation.from_dict(each) for each in values["evaluations"]]
        held_out_text = values["held_out_text"] and TextQuality(**values["held_out_text"])
        return cls(points, evaluations, held_out_text)


def is_due(epoch: float, epochs: int, most: int) -> bool:
    """Whether something that may happen `most` times in a run, evenly spread, is due after `epoch` epochs.

    It always is after the last one, which may make it one time more.
    """
    return epoch == epochs or epoch % math.ceil(epochs / most) == 0


def epochs_text(epochs: float) -> str:
    """Return a number of epochs as it is shown: 3, 2.25."""
    return f"{round(epochs, 2):.12g}"
