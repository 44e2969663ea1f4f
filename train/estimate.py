"""What a run will need: memory and time, told before it starts."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace

import torch

from model.config import ModelConfig
from model.network import NeuroQ
from train import torchrun
from train.arguments import TrainingArguments
from train.loop import TrainingError
from train.memory import available_bytes, resident_bytes
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
    """Of a run: parameters, bytes of each of `num_processes` on this machine, and seconds of `num_steps`."""

    num_parameters: int
    needs: Needs
    num_processes: int
    num_steps: int
    seconds: float
    available: int

    @property
    def num_bytes(self) -> int:
        """Bytes of all processes on this machine."""
        return self.num_processes * self.needs.total

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {_size(value)}" for name, value in vars(self.needs).items())
        return (
            f"estimate: {_size(self.num_bytes)} of memory, {_size(self.available)} are free "
            f"({self.num_processes} x {parts}); {_duration(self.seconds)} for {self.num_steps:,} steps"
        )

    @property
    def warning(self) -> str | None:
        """What to say when the memory may not do."""
        if self.num_bytes <= self.available:
            return None
        return (
            "warning: the run may need more memory than is free; less is needed with a lower --batch_size "
            "and more --gradient_accumulation_steps, or with fewer --processes"
        )


def num_parameters(config: ModelConfig) -> int:
    """Return how many parameters a network has, without making it."""
    with torch.device("meta"):
        return NeuroQ(config).num_parameters


def estimate(arguments: TrainingArguments, config: ModelConfig, num_tokens: int, epochs: float) -> Estimate:
    """Tell what `epochs` passes over `num_tokens` tokens need, from a few measured steps.

    `arguments.processes` is the real number. Raises TrainingError when there is no room for the weights, the
    gradients and the optimiser's state.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    available, num_here = available_bytes(device), 1 if device.type == "cuda" else _processes_here(arguments)
    needs = _needs_without_activations(arguments, num_parameters(config), device)
    if num_here * needs.total > available:
        raise TrainingError(
            f"{num_parameters(config):,} parameters in {num_here} process(es) need "
            f"{_size(num_here * needs.total)} of memory, {_size(available)} are free: take a smaller network "
            "or fewer --processes"
        )
    cost = measure(arguments, config)
    windows = -(-arguments.batch_size // arguments.processes)  # of a process, at a time
    scored = WINDOWS_PER_BATCH * config.context_length * config.vocab_size * _LOGIT
    num_steps = math.ceil(epochs * num_tokens / (_batch(arguments) * arguments.seq_length))
    seconds = num_steps * (
        cost.seconds_per_step + cost.seconds_per_window * windows * arguments.gradient_accumulation_steps
    )
    seconds *= max(1.0, num_here / (os.cpu_count() or 1)) if device.type == "cpu" else 1.0
    return Estimate(
        num_parameters=num_parameters(config),
        needs=replace(needs, activations=max(round(cost.bytes_per_window * windows), scored)),
        num_processes=num_here,
        num_steps=num_steps,
        seconds=min(seconds, 60 * arguments.minutes or seconds),
        available=available,
    )


def _needs_without_activations(arguments: TrainingArguments, count: int, device: torch.device) -> Needs:
    return Needs(
        weights=_WEIGHTS * count,
        gradients=_GRADIENTS * count * (2 if arguments.processes > 1 else 1),
        optimizer=_OPTIMIZER * count,
        activations=0,
        program=resident_bytes() if device.type == "cpu" else 0,
    )


def _processes_here(arguments: TrainingArguments) -> int:
    return torchrun.num_here() if torchrun.is_launched() else arguments.processes


def _batch(arguments: TrainingArguments) -> int:
    return arguments.batch_size * arguments.gradient_accumulation_steps


def _size(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
