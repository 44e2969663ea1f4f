"""A thread that runs the service, so that decoding goes on while TorchServe carries requests and replies.

Between two calls of the handler TorchServe spends milliseconds on its own protocol; an engine that ran inside
those calls would stand still meanwhile, and a health check would wait for the step that runs.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from handler.errors import internal_error
from handler.metrics import Metrics
from handler.replies import Answer, Reply, merge
from handler.service import Service

# How far decoding steps back behind the protocol where both want a processor: it is always busy, while the
# protocol's short turns are what every request waits for.
_NICENESS = 5
# When the client of its only request has left, TorchServe does not call again, and tells nobody. So nothing
# is decoded while an answer has waited here for longer than the protocol takes; in the end it is given up.
_RUN_AHEAD, _ABANDONED = 0.1, 5.0  # seconds
_RECHECK = 0.02  # seconds between two looks meanwhile
_logger = logging.getLogger(__name__)


class Driver:
    """Takes requests and gives answers in the caller's thread; the service lives in its own.

    Commands go in through a queue and answers come out under a condition: nothing of the service is touched
    by two threads, except `Service.receive`, which changes nothing.
    """

    def __init__(self, open_service: Callable[[], Service]) -> None:
        """`open_service` is called in the service's thread. Raises what it raises."""
        self._commands: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._news = threading.Condition()
        self._answers: dict[str, Answer] = {}  # the next answer of each request, merged until it is taken
        self._in_flight: set[str] = set()  # requests whose last answer was not taken
        self._untaken_since: float | None = None  # when the oldest of the service's answers came
        self._service: Service  # set in its own thread, before `opened` has a result
        opened: Future[None] = Future()
        run = partial(self._run, open_service, opened)
        threading.Thread(target=run, name="neuroq-service", daemon=True).start()
        opened.result()

    @property
    def metrics(self) -> Metrics:
        """What the service counts."""
        return self._service.metrics

    def submit(self, request_id: str, body: Any, *, path: str = "", can_stream: bool = True) -> None:
        """Take a request as Service.submit does; one that needs no engine is answered at once."""
        incoming = self._service.receive(body, path)
        with self._news:
            self._in_flight.add(request_id)
            if isinstance(incoming, Reply):
                self._answers[request_id] = incoming
                return
        self._commands.put(partial(self._service.accept, request_id, incoming, can_stream=can_stream))

    def cancel_all_but(self, request_ids: set[str]) -> None:
        """Forget every request that is not among these; nothing more comes of it."""
        with self._news:
            self._go_on()
            gone = self._in_flight - request_ids
            self._in_flight -= gone
            for request_id in gone:
                self._answers.pop(request_id, None)
        for request_id in gone:
            self._commands.put(partial(self._service.cancel, request_id))

    def take(self, seconds: float) -> dict[str, Answer]:
        """Return what is ready, waiting for something for at most `seconds`."""
        with self._news:
            self._news.wait_for(lambda: self._answers, timeout=seconds)
            answers, self._answers = self._answers, {}
            self._go_on()
            self._in_flight -= {request_id for request_id, answer in answers.items() if answer.is_last}
        return answers

    def _run(self, open_service: Callable[[], Service], opened: Future[None]) -> None:
        _step_back()
        try:
            self._service = open_service()
            self._service.conversations.wake = partial(self._commands.put, _nothing)
        except BaseException as error:
            opened.set_exception(error)
            return
        opened.set_result(None)
        self._serve()

    def _serve(self) -> None:
        while True:
            try:
                self._obey()
                self._give_up_abandoned()
                self._publish(self._service.step(decodes=self._untaken_seconds() <= _RUN_AHEAD))
            except Exception:
                _logger.exception("the service failed; every request in flight is lost")
                self._lose_everything()

    def _obey(self) -> None:
        """Carry out the commands that came; wait for one while there is nothing else to do."""
        seconds = self._service.wait_seconds()
        if seconds == 0 and self._untaken_seconds() > _RUN_AHEAD:
            seconds = _RECHECK
        try:
            if seconds == 0:
                self._commands.get_nowait()()
            else:
                self._commands.get(timeout=seconds)()
            while True:
                self._commands.get_nowait()()
        except Empty:
            return

    def _publish(self, answers: dict[str, Answer]) -> None:
        if not answers:
            return
        with self._news:
            for request_id, answer in answers.items():
                if request_id in self._in_flight:  # else cancelled meanwhile
                    earlier = self._answers.get(request_id)
                    self._answers[request_id] = merge(earlier, answer) if earlier else answer
                    self._untaken_since = self._untaken_since or time.monotonic()
            self._news.notify()

    def _untaken_seconds(self) -> float:
        since = self._untaken_since
        return 0.0 if since is None else time.monotonic() - since

    def _go_on(self) -> None:
        """TorchServe has called: nothing is untaken."""
        if self._untaken_seconds() > _RUN_AHEAD:
            self._commands.put(_nothing)
        self._untaken_since = None

    def _give_up_abandoned(self) -> None:
        with self._news:  # whatever is submitted later is not abandoned
            if self._untaken_seconds() <= _ABANDONED:
                return
            lost = self._in_flight.copy()
            self._refuse(lost)
        for request_id in lost:
            self._service.cancel(request_id)

    def _lose_everything(self) -> None:
        self._service.cancel_all_but(set())
        with self._news:
            self._refuse(self._in_flight)
            self._news.notify()

    def _refuse(self, request_ids: set[str]) -> None:
        """Answer requests that are lost, for whoever still asks."""
        error = internal_error()
        refusal = Reply(error.status, error.body)
        for request_id in request_ids:
            earlier = self._answers.get(request_id)
            if earlier is None or not earlier.is_last:
                self._answers[request_id] = merge(earlier, refusal) if earlier else refusal


def _nothing() -> None:
    """A command that only wakes the service's thread."""


def _step_back() -> None:
    """Lower the priority of this thread, and of those that it starts: the native decoder's."""
    if sys.platform != "linux":  # elsewhere a thread has none of its own
        return
    with suppress(OSError):
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _NICENESS)
