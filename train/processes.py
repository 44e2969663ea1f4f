"""Data parallelism: processes of one thread each that add up their gradients.

On a processor this beats threads inside one process: torch's thread pool stands still whenever another
program takes one of its cores, two processes merely slow down.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

# glibc's malloc.h
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


class Group(Protocol):
    """The processes of a run, as one of them sees it."""

    @property
    def rank(self) -> int:
        """This process's number, 0 for the first."""

    @property
    def size(self) -> int:
        """How many processes there are."""

    def sum(self, parts: Sequence[Tensor]) -> Tensor:
        """Return the parts in one flat tensor, summed over all processes; it holds until the next call."""


class Alone:
    """A run of one process."""

    rank, size = 0, 1

    def sum(self, parts: Sequence[Tensor]) -> Tensor:
        """Return the parts in one flat tensor."""
        return _flat(parts)


class _Neighbours:
    """Processes of one machine: they add up in shared memory, and wait for each other through gloo.

    Gloo would carry every number over a socket, and more slowly; its barrier notices a process that died.
    """

    def __init__(self, folder: Path) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self._folder = folder
        self._rows = torch.empty(0, 0)  # one of each process, and one of sums

    def sum(self, parts: Sequence[Tensor]) -> Tensor:
        length = sum(part.numel() for part in parts)
        if self._rows.numel() < (self.size + 1) * length:
            self._rows = self._share(length)
        rows = self._rows[:, :length]
        *own, sums = rows
        _flat(parts, own[self.rank])
        dist.barrier()
        here = slice(length * self.rank // self.size, length * (self.rank + 1) // self.size)
        torch.sum(rows[:-1, here], 0, out=sums[here])
        dist.barrier()
        return sums

    def _share(self, length: int) -> Tensor:
        path = self._folder / "sums"
        if self.rank == 0:
            torch.from_file(str(path), shared=True, size=(self.size + 1) * length)
        dist.barrier()
        rows = torch.from_file(str(path), shared=True, size=(self.size + 1) * length)
        dist.barrier()
        if self.rank == 0:
            path.unlink()  # the memory lives as long as the processes
        return rows.view(self.size + 1, length)


def prepare_processor(size: int) -> None:
    """Set this process up as one of `size` that train on a processor: one thread each, or all in one."""
    if size > 1:
        torch.set_num_threads(1)
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Let glibc hand out freed memory again: a step's tensors would fault in each page of theirs anew."""
    with suppress(AttributeError, OSError):
        allocator = ctypes.CDLL(None)
        allocator.mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        allocator.mallopt(_M_TRIM_THRESHOLD, 1 << 30)


def _flat(parts: Sequence[Tensor], out: Tensor | None = None) -> Tensor:
    return torch.cat([part.flatten() for part in parts], out=out)


@contextmanager
def group(size: int, work: Callable[..., Any], *args: Any) -> Iterator[Group]:
    """Yield the group as process 0 sees it, while the other processes run `work(group, *args)`.

    `work` and its arguments must be picklable. The other processes end with the `with` block.
    """
    if size == 1:
        yield Alone()
        return
    with tempfile.TemporaryDirectory(prefix="neuroq-", dir=_memory()) as name:
        folder = Path(name)
        context = multiprocessing.get_context("spawn")
        others = [
            context.Process(target=_run, args=(rank, size, folder, work, args), daemon=True)
            for rank in range(1, size)
        ]
        for process in others:
            process.start()
        try:
            _join(0, size, folder)
            yield _Neighbours(folder)
        finally:
            _stop(others)


def _run(rank: int, size: int, folder: Path, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # process 0 hears Ctrl-C and tells the others
    prepare_processor(size)
    _join(rank, size, folder)
    try:
        work(_Neighbours(folder), *args)
    except RuntimeError:
        os._exit(1)  # process 0 has gone: there is nothing to save here


def _memory() -> str | None:
    """Return a folder that lies in memory, None when there is none."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _join(rank: int, size: int, folder: Path) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo" if os.uname().sysname == "Linux" else "lo0")
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=size)


def _stop(others: Sequence[BaseProcess]) -> None:
    for process in others:
        process.join(timeout=5)
        if process.is_alive():
            process.kill()
            process.join()
    if dist.is_initialized():
        dist.destroy_process_group()
