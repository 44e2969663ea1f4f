"""Ctrl-C, SIGTERM, SIGUSR1 and SIGHUP: what can be saved is saved, then one line and the exit status 130.

Terminals, `timeout`, systemd and Slurm send them to every process of a run, some of them twice, others to one
process only: so each process heeds them, and what comes again within a moment is the same wish.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

INTERRUPTED = 130  # exit status, as a shell has it after Ctrl-C
_MOMENT = 1.0  # seconds; a Ctrl-C after them is meant
_Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


class Interrupted(SystemExit):
    """A signal ends the command now. Like SystemExit it is no error that anybody handles on the way."""


class _Watch:
    """The signals of this process: when the first one came, and whether it may break off what runs."""

    def __init__(self) -> None:
        self.first: float | None = None
        self.only_notes = False
        self.leaves_at_once = False  # nothing has begun
        self.has_broken_off = False
        self.is_patient = False  # heeds no second Ctrl-C: another process does

    def note(self, number: int, _frame: FrameType | None) -> None:
        is_first = self.first is None
        if self.first is None:
            self.first = time.monotonic()
        is_meant_again = number == signal.SIGINT and time.monotonic() - self.first > _MOMENT
        if (is_first and not self.only_notes) or (is_meant_again and not self.is_patient):
            break_off()


_watch = _Watch()


def end_in_one_line() -> None:
    """From now on a signal breaks this process off, wherever it is, with one line.

    Until `run` it does so at once: while modules are imported anything may swallow an exception.
    """
    _watch.leaves_at_once = True
    _install()


@contextmanager
def importing() -> Iterator[None]:
    """Import what takes its time: a signal ends the command at once here, if this is one."""
    _watch.leaves_at_once = signal.getsignal(signal.SIGINT) == _watch.note
    try:
        yield
    finally:
        _watch.leaves_at_once = False


def give_way() -> None:
    """From now on a signal ends this process at once, without a word: another one speaks."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def noted(*, is_patient: bool = False) -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether a signal came: it breaks nothing off here.

    A second Ctrl-C does, unless this process `is_patient`. After a signal was noted, nothing but that breaks
    off what follows, either: there is something to save.
    """
    before = _install()
    if before[signal.SIGINT] != _watch.note:  # no command of ours: whatever came is over
        _watch.first = None
    outer = _watch.only_notes, _watch.is_patient
    _watch.only_notes, _watch.is_patient = True, is_patient
    try:
        yield lambda: _watch.first is not None
    finally:
        _watch.only_notes, _watch.is_patient = outer
        for number, handler in before.items():
            signal.signal(number, handler)


def heed() -> None:
    """Break off if a signal was noted: what had to be saved is saved."""
    if _watch.first is not None and not _watch.only_notes:
        break_off()


@contextmanager
def deferred() -> Iterator[None]:
    """Let what is written be written; a signal that came meanwhile breaks off after it, if it may."""
    with noted() as came:
        came_before = came()
        yield
        came_now = came() and not came_before
    if came_now:
        heed()


def break_off() -> NoReturn:
    """Raise Interrupted, having said so."""
    name = _command()
    line = f"{name}: interrupted" + ("; go on with --resume" if name == "train" else "")
    with suppress(OSError):  # the terminal may be gone
        os.write(2, f"{line}\n".encode())
    if _watch.leaves_at_once:
        os._exit(INTERRUPTED)
    _watch.has_broken_off = True
    raise Interrupted(INTERRUPTED)


def _command() -> str:
    """Return this process's command: it was started as `python -m MODULE`."""
    arguments = sys.orig_argv
    module = arguments[arguments.index("-m") + 1] if "-m" in arguments else "train"
    name = module.rpartition(".")[2]
    return {"ready_text": "corpus"}.get(name, name)


def run(main: Callable[[], object]) -> None:
    """Run a command; an interrupted one leaves at once, for a thread may still be in the middle of a text."""
    _watch.leaves_at_once = False
    try:
        main()
    except BaseException:  # a library may have made another error of Interrupted
        if _watch.has_broken_off:
            os._exit(INTERRUPTED)  # by now every `with` and `finally` on the way has cleaned up
        raise
    finally:
        _watch.leaves_at_once = True  # what is left is Python's own end, which swallows exceptions


def _install() -> dict[signal.Signals, _Handler]:
    """Note the signals from now on, a SIGHUP that `nohup` ignores left out; return the handlers before."""
    heeded = [n for n in _SIGNALS if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]
    return {number: signal.signal(number, _watch.note) or signal.SIG_DFL for number in heeded}
