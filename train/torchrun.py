"""The group of a run that torchrun launched: one process a device, on one machine or several.

    torchrun --nproc-per-node 2 -m train TEXTS… [OPTIONS]

The first process reads the text and writes the files; the others take its arguments and only train.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NoReturn

import torch
import torch.distributed as dist

from train.processes import Distributed, Group

# The others wait while the first one reads a long text or scores: torchrun ends them when it fails.
_PATIENCE = timedelta(days=30)
_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def is_launched() -> bool:
    """Tell whether torchrun started this process."""
    return all(name in os.environ for name in _VARIABLES)


def rank() -> int:
    """Return this process's number, 0 for the first; also without torchrun."""
    return int(os.environ["RANK"]) if is_launched() else 0


def world_size() -> int:
    """Return how many processes torchrun started."""
    return int(os.environ["WORLD_SIZE"])


def num_here() -> int:
    """Return how many of them run on this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"])


@contextmanager
def lead(*args: Any) -> Iterator[Group]:
    """Yield the group as the first process sees it, once the others have received `args` (picklable)."""
    with _joined() as group:
        dist.broadcast_object_list([args], src=0)
        yield group


def follow(work: Callable[..., None]) -> None:
    """Run `work(group, *args)` with what the first process gives to `lead`."""
    with _joined() as group:
        received: list[Any] = [None]
        dist.broadcast_object_list(received, src=0)
        work(group, *received[0])


def leave(status: int) -> NoReturn:
    """End a process that follows, at once: it has nothing to save.

    A thread of gloo may still let go of a tensor, which needs Python: at its regular end that would abort.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


@contextmanager
def _joined() -> Iterator[Group]:
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=_PATIENCE)
    try:
        yield Distributed()
    finally:
        dist.destroy_process_group()
