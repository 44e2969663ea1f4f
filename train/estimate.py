"""What a run will need: memory and time, told before it starts."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace

import torch

from model.config import ModelConfig
from train import torchrun
from train.arguments import TrainingArguments
from train.loop import TrainingError
from train.memory import available_bytes, peak_bytes, resident_bytes
from train.probe import measure
from train.score import WINDOWS_PER_BATCH

# Bytes a parameter: float32 weights; gradients, twice where processes add them up; AdamW's two moments
# (Muon has one).
_WEIGHTS, _GRADIENTS, _OPTIMIZER = 4, 4, 8
_LOGIT = 2 * 4  # bytes of a logit while text is scored: float32, and its logarithm of a probability


@dataclass(frozen=True)
class Needs:
    """Bytes that one process needs."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    program: int

    @property
    def total(self) -> int:
        """All together."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.program


@dataclass(frozen=True)
class Estimate:
    """Bytes of each of `num_processes` on this machine, and seconds of all steps.

    `limit` are the seconds after which the run ends before them, 0 for none.
    """

    needs: Needs
    num_processes: int
    num_steps: int
    seconds: float
    limit: float
    available: int

    @property
    def num_bytes(self) -> int:
        """Bytes of all processes on this machine."""
        return self.num_processes * self.needs.total

    @property
    def warning(self) -> str | None:
        """What to say when the memory may not do."""
        if self.num_bytes <= self.available:
            return None
        return (
            "warning: the run may need more memory than is free; less is needed with a lower --batch_size "
            "and more --gradient_accumulation_steps, or with fewer --processes"
        )

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {_size(value)}" for name, value in vars(self.needs).items())
        time = f"{_duration(self.seconds)} for {self.num_steps:,} steps"
        if 0 < self.limit < self.seconds:
            time = f"{_duration(self.limit)} (--minutes; {time})"
        return (
            f"estimate: {_size(self.num_bytes)} of memory ({self.num_processes} x {parts}), "
            f"{_size(self.available)} are free; {time}"
        )


def estimate(arguments: TrainingArguments, config: ModelConfig, num_tokens: int, epochs: float) -> Estimate:
    """Tell what `epochs` passes over `num_tokens` tokens need, from a few measured steps.

    `arguments.processes` is the real number. Raises TrainingError when there is no room for the weights, the
    gradients and the optimiser's state.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    num_here = 1 if device.type == "cuda" else _processes_here(arguments)
    available = available_bytes(device)
    program = resident_bytes() if device.type == "cpu" else 0
    _require(num_here * _needs(arguments, _least_parameters(config), 0, program).total, available)
    cost = measure(arguments, config)
    windows = math.ceil(arguments.batch_size / arguments.processes)  # of a process, at a time
    scored = WINDOWS_PER_BATCH * config.context_length * config.vocab_size * _LOGIT
    activations = max(round(cost.bytes_per_window * windows), scored)
    needs = _needs(arguments, cost.num_parameters, activations, program)
    if device.type == "cpu":  # the probe's own peak shows what the allocator takes beside the tensors
        needs = replace(needs, activations=activations + max(peak_bytes() - needs.total, 0))
    steps = arguments.gradient_accumulation_steps
    num_steps = math.ceil(epochs * num_tokens / (arguments.batch_size * steps * arguments.seq_length))
    seconds = num_steps * (cost.seconds_per_step + cost.seconds_per_window * windows * steps)
    crowd = max(1.0, num_here / (os.cpu_count() or 1)) if device.type == "cpu" else 1.0
    return Estimate(
        needs=needs,
        num_processes=num_here,
        num_steps=num_steps,
        seconds=crowd * seconds,
        limit=60 * arguments.minutes,
        available=available,
    )


def _needs(arguments: TrainingArguments, num_parameters: int, activations: int, program: int) -> Needs:
    return Needs(
        weights=_WEIGHTS * num_parameters,
        gradients=_GRADIENTS * num_parameters * (2 if arguments.processes > 1 else 1),
        optimizer=_OPTIMIZER * num_parameters,
        activations=activations,
        program=program,
    )


def _least_parameters(config: ModelConfig) -> int:
    """Return what any transformer of this size has, in no time: a network is not made to no avail."""
    width, layers = config.embed_dim, config.num_layers
    return config.vocab_size * width + 12 * layers * width**2


def _require(num_bytes: int, available: int) -> None:
    if num_bytes > available:
        raise TrainingError(
            f"the network needs {_size(num_bytes)} of memory, {_size(available)} are free: choose a lower "
            "--embed_dim, --num_layers or --processes"
        )


def _processes_here(arguments: TrainingArguments) -> int:
    return torchrun.num_here() if torchrun.is_launched() else arguments.processes


def _size(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
