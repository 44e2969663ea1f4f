"""Data parallelism: processes of one thread each that add up their gradients.

On a processor this beats threads inside one process: torch's thread pool stands still whenever another
program takes one of its cores, two processes merely slow down.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor


class Group(Protocol):
    """The processes of a run, as one of them sees it."""

    @property
    def rank(self) -> int:
        """This process's number, 0 for the first."""

    @property
    def size(self) -> int:
        """How many processes there are."""

    def sum(self, tensor: Tensor) -> None:
        """Replace `tensor` by its sum over all processes."""


class Alone:
    """A run of one process."""

    rank, size = 0, 1

    def sum(self, tensor: Tensor) -> None:
        """Nothing to add."""


class Distributed:
    """The group that torch.distributed was initialised with."""

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def sum(self, tensor: Tensor) -> None:
        """Add up over loopback, a network or NVLink."""
        dist.all_reduce(tensor)


@contextmanager
def group(size: int, work: Callable[..., Any], *args: Any) -> Iterator[Group]:
    """Yield the group as process 0 sees it, while the other processes run `work(group, *args)`.

    `work` and its arguments must be picklable. The other processes end with the `with` block.
    """
    if size == 1:
        yield Alone()
        return
    with tempfile.TemporaryDirectory(prefix="neuroq-") as folder:
        store = Path(folder) / "rendezvous"
        context = multiprocessing.get_context("spawn")
        others = [
            context.Process(target=_run, args=(rank, size, store, work, args), daemon=True)
            for rank in range(1, size)
        ]
        for process in others:
            process.start()
        try:
            _join(0, size, store)
            yield Distributed()
        finally:
            _stop(others)


def _run(rank: int, size: int, store: Path, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # process 0 hears Ctrl-C and tells the others
    torch.set_num_threads(1)
    _join(rank, size, store)
    try:
        work(Distributed(), *args)
    except RuntimeError:
        os._exit(1)  # process 0 has gone: there is nothing to save here


def _join(rank: int, size: int, store: Path) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo" if os.uname().sysname == "Linux" else "lo0")
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)


def _stop(others: Sequence[BaseProcess]) -> None:
    for process in others:
        process.join(timeout=5)
        if process.is_alive():
            process.kill()
            process.join()
    if dist.is_initialized():
        dist.destroy_process_group()
