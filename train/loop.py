"""The training loop: the same on every process of a group, resumable at any step."""

from __future__ import annotations

import hashlib
import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch

from model.config import ModelConfig
from model.network import NeuroQ
from train.arguments import TrainingArguments
from train.batches import blank_user_words, collate, micro_batches
from train.encoded import EncodedDocuments
from train.loss import make_loss
from train.optimizer import Optimizer, Update
from train.plan import EpochPlan, Window
from train.processes import Group


class TrainingError(RuntimeError):
    """Training cannot go on; the last checkpoint is intact."""


@dataclass(frozen=True)
class Position:
    """Where a run stands: the next batch to train on."""

    epoch: int = 0
    batch: int = 0


@dataclass(frozen=True)
class StepReport:
    """What one step brought: `nats` is the loss summed over `num_tokens` tokens of all processes.

    `done` is the share of the run that lies behind it; `epochs_done` are the epochs behind its end.
    """

    position: Position
    done: float
    nats: float
    num_tokens: int
    update: Update
    seconds: float
    stopped: bool
    epochs_done: float


class Wishes(NamedTuple):
    """What a process wants of the others in a step; summed over the group."""

    stop: float = 0.0
    time_share: float = 0.0  # of the first process only


class Trainer:
    """A network, its optimiser and its place in the data.

    Every process of the group holds the same weights and the same plan of batches, takes its share of
    each batch's windows, and adds up the gradients with the others. All randomness of a step comes from
    the seed and the step's place, so a run that stops anywhere goes on to the same weights.
    """

    def __init__(
        self,
        arguments: TrainingArguments,
        config: ModelConfig,
        documents: EncodedDocuments,
        build: Callable[[ModelConfig], NeuroQ] = NeuroQ,
    ) -> None:
        self.arguments = arguments
        torch.manual_seed(arguments.seed)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = build(config).to(self.device)
        self.optimizer = Optimizer(
            self.model,
            lr=arguments.lr,
            matrix_lr=arguments.matrix_lr,
            weight_decay=arguments.weight_decay,
            warmup=arguments.warmup,
            with_muon=arguments.optimizer == "muon",
        )
        self.position = Position()
        self.first_epoch = 0  # where the schedule begins
        self.precision = resolve_precision(arguments.precision, self.device)
        self._loss = make_loss(
            self.model,
            precision=self.precision,
            seed=arguments.seed,
            most_tokens=arguments.batch_size * arguments.seq_length,
        )
        self._documents = documents
        self._is_time_over = False

    @property
    def message_size(self) -> int:
        """How many numbers the processes of a group add up in a step."""
        return self.model.num_parameters + 1 + len(Wishes._fields)

    @property
    def is_finished(self) -> bool:
        """True when every epoch is done, or the time is over."""
        return self._is_time_over or self.position.epoch >= self.arguments.epochs

    def run(
        self,
        group: Group,
        should_stop: Callable[[], bool] = bool,
        time_share: Callable[[], float] = float,
    ) -> Iterator[StepReport]:
        """Train to the end, one report a step; `position` is then the step after it.

        When `should_stop` says so on any process, every process ends after the same step. `time_share` tells
        the first process how much of the run's time is over; the others hear it from there.
        """
        self.model.train()
        while not self.is_finished:
            plan = self._plan(self.position.epoch)
            while self.position.batch < len(plan):
                wishes = Wishes(float(should_stop()), time_share())
                report = self._step(plan[self.position.batch], len(plan), group, wishes)
                self._advance(len(plan))
                yield report
                if report.stopped or self._is_time_over:
                    return
                if self.position.batch == 0:
                    break

    def _plan(self, epoch: int) -> EpochPlan:
        return EpochPlan(
            self._documents,
            length=self.arguments.seq_length,
            batch_size=self.arguments.batch_size * self.arguments.gradient_accumulation_steps,
            join=self.arguments.join,
            rng=random.Random(f"{self.arguments.seed}/{epoch}"),
        )

    def _advance(self, num_batches: int) -> None:
        here = self.position
        at_end = here.batch + 1 == num_batches
        self.position = Position(here.epoch + 1) if at_end else Position(here.epoch, here.batch + 1)

    def _step(self, windows: list[Window], num_batches: int, group: Group, wishes: Wishes) -> StepReport:
        started = time.perf_counter()
        place = self.position
        torch.manual_seed(_seed(self.arguments.seed, place.epoch, place.batch, group.rank))
        num_tokens = sum(len(piece) - 1 for window in windows for piece in window)
        self.optimizer.zero_grad()
        mine = micro_batches(windows[group.rank :: group.size], -(-self.arguments.batch_size // group.size))
        nats = sum(self._backward(part, num_tokens) for part in mine)
        nats, wishes = self._share(group, nats, wishes)
        if not math.isfinite(nats):
            raise TrainingError(
                f"the loss is {nats} in epoch {place.epoch + 1}, batch {place.batch + 1}: try a lower --lr"
            )
        here = place.epoch - self.first_epoch + place.batch / num_batches
        epochs_share = here / (self.arguments.epochs - self.first_epoch)
        done = min(max(epochs_share, wishes.time_share), 1.0)
        update = self.optimizer.step(done, group)
        self._is_time_over = wishes.time_share >= 1.0
        seconds = time.perf_counter() - started
        epochs_done = place.epoch + (place.batch + 1) / num_batches
        return StepReport(place, done, nats, num_tokens, update, seconds, wishes.stop > 0, epochs_done)

    def _backward(self, windows: list[Window], num_tokens: int) -> float:
        """Add this process's share of the gradient of the mean loss over `num_tokens`; return its nats."""
        batch = collate(windows, length=self.arguments.seq_length)
        loss = self._loss(blank_user_words(batch, self.arguments.word_dropout).to(self.device))
        (loss / num_tokens).backward()  # type: ignore[no-untyped-call]
        return loss.item()

    def _share(self, group: Group, nats: float, wishes: Wishes) -> tuple[float, Wishes]:
        """Sum gradients, loss and wishes over the group, in one message."""
        parameters = list(self.model.parameters())
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        if group.size == 1:
            return nats, wishes
        extra = torch.tensor([nats, *wishes], device=self.device)
        message = group.sum([*(p.grad for p in parameters if p.grad is not None), extra])
        start = 0
        for parameter in parameters:
            parameter.grad = message[start : start + parameter.numel()].view_as(parameter)
            start += parameter.numel()
        return message[start].item(), Wishes(*message[start + 1 :].tolist())


def resolve_precision(precision: str, device: torch.device) -> str:
    """Return fp32 or bf16 for `auto`: bf16 where the processor multiplies it natively."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    capabilities = torch.cpu.get_capabilities()
    return "bf16" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "fp32"


def _seed(*place: int) -> int:
    digest = hashlib.sha256("/".join(map(str, place)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
