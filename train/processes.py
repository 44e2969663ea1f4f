"""Data parallelism: processes of one thread each that add up their gradients.

On a processor this beats threads inside one process: torch's thread pool stands still whenever another
program takes one of its cores, two processes merely slow down.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

# A fork starts at once and shares the text's memory; elsewhere than on Linux it is not safe.
if sys.platform == "linux":
    _CONTEXT = multiprocessing.get_context("fork")
else:
    _CONTEXT = multiprocessing.get_context("spawn")


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

    def sum(self, tensor: Tensor) -> None:
        """Replace `tensor` by its sum over all processes. Raises GroupError."""


class Alone:
    """A run of one process."""

    rank, size = 0, 1

    def sum(self, tensor: Tensor) -> None:
        """Nothing to add."""


class _Gloo:
    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def sum(self, tensor: Tensor) -> None:
        try:
            dist.all_reduce(tensor)
        except RuntimeError as error:
            raise GroupError("another process of the run has died; go on with --resume") from error


@contextmanager
def group(size: int, work: Callable[..., Any], *args: Any) -> Iterator[Group]:
    """Yield the group as process 0 sees it, while the other processes run `work(group, *args)`.

    `work` and its arguments must be picklable. The other processes end with the `with` block, at once when
    it fails, and also when this process is killed.
    """
    if size == 1:
        yield Alone()
        return
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        others = [
            _CONTEXT.Process(target=_run, args=(rank, size, port, work, args), daemon=True)
            for rank in range(1, size)
        ]
        for process in others:
            process.start()
        try:
            _join(0, size, port, server.detach())
            yield _Gloo()
        except BaseException:
            for process in others:
                process.kill()
            raise
        finally:
            _stop(others)


def _run(rank: int, size: int, port: int, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # process 0 hears Ctrl-C and tells the others
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    try:
        _join(rank, size, port)
        work(_Gloo(), *args)
    except RuntimeError:
        os._exit(1)  # process 0 has gone, or says what is wrong: there is nothing to save here


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
