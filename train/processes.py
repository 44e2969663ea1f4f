"""Data parallelism: processes of one thread each that add up their gradients.

On a processor this beats threads inside one process: torch's thread pool stands still whenever another
program takes one of its cores, two processes merely slow down.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

# A fork starts at once and shares memory; elsewhere than on Linux it is not safe.
if sys.platform == "linux":
    _CONTEXT = multiprocessing.get_context("fork")
else:
    _CONTEXT = multiprocessing.get_context("spawn")

# glibc's malloc.h
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


class GroupError(RuntimeError):
    """Another process of the run has died."""


class Group(Protocol):
    """The processes of a run, as one of them sees it."""

    @property
    def rank(self) -> int:
        """This process's number, 0 for the first."""

    @property
    def size(self) -> int:
        """How many processes there are."""

    def sum(self, parts: Sequence[Tensor]) -> Tensor:
        """Return the parts in one flat tensor, summed over all processes. Raises GroupError."""


class Alone:
    """A run of one process."""

    rank, size = 0, 1

    def sum(self, parts: Sequence[Tensor]) -> Tensor:
        """Return the parts in one flat tensor."""
        return flat(parts)


class Distributed:
    """The group that torch.distributed was initialised with: over loopback, a network or NVLink."""

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def sum(self, parts: Sequence[Tensor]) -> Tensor:
        """Return the parts in one flat tensor, summed over all processes. Raises GroupError."""
        message = flat(parts)
        with _told():
            dist.all_reduce(message)
        return message


class _Neighbours:
    """Processes of one machine: they add up in shared memory, and wait for each other through gloo.

    Gloo would carry every number over a socket, and more slowly; its barrier notices a process that died.
    """

    def __init__(self, rows: Tensor) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self._rows = rows  # one of each process, and one of sums

    def sum(self, parts: Sequence[Tensor]) -> Tensor:
        length = sum(part.numel() for part in parts)
        rows = self._rows[:, :length]
        sums = rows[-1]
        flat(parts, rows[self.rank])
        with _told():
            dist.barrier()
        here = slice(length * self.rank // self.size, length * (self.rank + 1) // self.size)
        torch.sum(rows[:-1, here], 0, out=sums[here])
        with _told():
            dist.barrier()
        return sums.clone()  # the other processes read it, too


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise GroupError("another process of the run has died; go on with --resume") from error


def prepare_processor() -> None:
    """Set this process up to train on a processor, in one thread, whether it is the only one or not.

    To be called before the first thing that torch does in several threads: they would live on.
    """
    torch.set_num_threads(1)
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Let glibc hand out freed memory again: a step's tensors would fault in each page of theirs anew."""
    with suppress(AttributeError, OSError):
        allocator = ctypes.CDLL(None)
        allocator.mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        allocator.mallopt(_M_TRIM_THRESHOLD, 1 << 30)


def flat(parts: Sequence[Tensor], out: Tensor | None = None) -> Tensor:
    """Return the numbers of the parts one after the other."""
    return torch.cat([part.flatten() for part in parts], out=out)


@contextmanager
def group(size: int, capacity: int, work: Callable[..., Any], *args: Any) -> Iterator[Group]:
    """Yield the group as process 0 sees it, while the other processes run `work(group, *args)`.

    At most `capacity` numbers can be added up at once.
    `work` and its arguments must be picklable. The other processes end with the `with` block, at once when
    it fails, and also when this process is killed.
    """
    if size == 1:
        yield Alone()
        return
    rows = _shared(size + 1, capacity) if _CONTEXT.get_start_method() == "fork" else None
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        others = [
            _CONTEXT.Process(target=_run, args=(rank, size, port, rows, work, args), daemon=True)
            for rank in range(1, size)
        ]
        for process in others:
            process.start()
        try:
            _join(0, size, port, server.detach())
            yield _group(rows)
        except BaseException:
            for process in others:
                process.kill()
            raise
        finally:
            _stop(others)


def _run(
    rank: int, size: int, port: int, rows: Tensor | None, work: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # until `work` heeds signals, process 0 hears them
    threading.Thread(target=_end_with_parent, daemon=True).start()
    prepare_processor()
    try:
        _join(rank, size, port)
        work(_group(rows), *args)
    except RuntimeError:
        os._exit(1)  # process 0 has gone, or says what is wrong: there is nothing to save here


def _shared(*shape: int) -> Tensor:
    """Return memory that forks of this process share; no file stands behind it."""
    memory = mmap.mmap(-1, 4 * math.prod(shape))
    return torch.frombuffer(memory, dtype=torch.float32).view(shape)


def _group(rows: Tensor | None) -> Group:
    return Distributed() if rows is None else _Neighbours(rows)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def _join(rank: int, size: int, port: int, listening: int | None = None) -> None:
    """Meet the others; process 0 has the socket that is `listening` at the port."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo" if os.uname().sysname == "Linux" else "lo0")
    store = dist.TCPStore(  # type: ignore[attr-defined]
        "127.0.0.1", port, size, is_master=rank == 0, master_listen_fd=listening
    )
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size)


def _stop(others: Sequence[BaseProcess]) -> None:
    for process in others:
        process.join(timeout=5)
        if process.is_alive():
            process.kill()
            process.join()
    if dist.is_initialized():
        dist.destroy_process_group()
