"""The load generator: one process, one thread, the same for every system.

A closed loop has a number of clients, each of which sends its next request when the last one is answered.
An open loop sends at random moments (a Poisson process) however many are under way, and counts a request's
time from the moment that it was due.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import random
import re
import time
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from benchmarks.serving.connection import Reply, StaleConnectionError, connect
from benchmarks.serving.grpc_call import GrpcCaller

# Stands in a request for a number that is different every time, such as in the name of a conversation.
NUMBER = "0000000000000000"
DRAIN_SECONDS = 60.0  # after the end of the window, for what is still under way
_COMPLETION_TOKENS = re.compile(rb'"completion_tokens": ?(\d+)')


@dataclass(frozen=True)
class Call:
    """A request as it goes over the wire, and the output tokens that its reply must count (0: none)."""

    request: bytes
    num_tokens: int = 0


@dataclass(frozen=True)
class Traffic:
    """Clients of one kind: `clients` in a closed loop with `pause` seconds of rest, or `rate` a second."""

    name: str
    calls: Sequence[Call]
    clients: int = 0
    rate: float = 0.0
    pause: float = 0.0


@dataclass(frozen=True)
class Plan:
    """What to send where, for how many seconds; those of the warm-up are not measured."""

    host: str
    port: int
    traffics: Sequence[Traffic]
    warm_up: float
    seconds: float
    is_grpc: bool = False
    token: str = ""


@dataclass(frozen=True)
class Outcome:
    """One request: when it was due, when the first content came and when all was there, in seconds.

    Seconds count from the start of the measured window. An `error` says what was wrong with the reply.
    """

    traffic: str
    num_tokens: int
    started: float
    first: float
    ended: float
    num_events: int
    error: str = ""

    @property
    def latency(self) -> float:
        """Seconds from due to done."""
        return self.ended - self.started


@dataclass(frozen=True)
class Run:
    """Everything that was sent, and the processor seconds that sending it took in `wall` seconds."""

    outcomes: list[Outcome]
    seconds: float
    cpu: float
    wall: float


class Caller(Protocol):
    """A way to send a request and wait for its reply."""

    @property
    def is_open(self) -> bool:
        """Tell whether a request can be sent."""

    async def call(self, request: bytes) -> Reply:
        """Send a request and return its whole reply."""

    def close(self) -> None:
        """Give up whatever is under way."""


def run_plan(plan: Plan) -> Run:
    """Send what the plan says and return what came back."""
    gc.freeze()  # what was imported needs no looking at while the clock runs
    return asyncio.run(_Generator(plan).run())


class _Generator:
    """One plan at work."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._numbers = itertools.count(time.time_ns() // 1000)
        self._free: list[Caller] = []
        self._open: list[Caller] = []
        self._begin = 0.0
        self._replies: list[tuple[Traffic, Call, float, Reply | str]] = []

    async def run(self) -> Run:
        cpu, wall = time.process_time(), time.perf_counter()
        self._begin = wall + self._plan.warm_up
        tasks = [asyncio.create_task(task) for task in self._tasks()]
        _, late = await asyncio.wait(tasks, timeout=self._plan.warm_up + self._plan.seconds + DRAIN_SECONDS)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        for task in late:
            task.cancel()
        for caller in self._open:
            caller.close()
        await asyncio.gather(*late, return_exceptions=True)
        return Run([self._outcome(*each) for each in self._replies], self._plan.seconds, cpu, wall)

    def _tasks(self) -> Iterator[Coroutine[None, None, None]]:
        for traffic in self._plan.traffics:
            calls = itertools.cycle(traffic.calls)
            if traffic.rate:
                yield self._open_loop(traffic, calls)
            for _ in range(traffic.clients):
                yield self._client(traffic, calls)

    @property
    def _end(self) -> float:
        return self._begin + self._plan.seconds

    async def _client(self, traffic: Traffic, calls: Iterator[Call]) -> None:
        while time.perf_counter() < self._end:
            await self._send(traffic, next(calls), time.perf_counter())
            if traffic.pause:
                await asyncio.sleep(traffic.pause)

    async def _open_loop(self, traffic: Traffic, calls: Iterator[Call]) -> None:
        chance, due = random.Random(0), time.perf_counter()
        sent = []
        while due < self._end:
            await asyncio.sleep(due - time.perf_counter())
            sent.append(asyncio.create_task(self._send(traffic, next(calls), due)))
            due += chance.expovariate(traffic.rate)
        await asyncio.gather(*sent)

    async def _send(self, traffic: Traffic, call: Call, due: float) -> None:
        request = call.request.replace(NUMBER.encode(), b"%016d" % next(self._numbers))
        reply: Reply | str = "no reply in time"
        try:
            reply = await self._exchange(request)
        except OSError as error:  # ConnectionLostError is one
            reply = f"{type(error).__name__}: {error}"
            await asyncio.sleep(0.05)  # a server that is gone must not make this loop spin
        finally:
            self._replies.append((traffic, call, due, reply))

    async def _exchange(self, request: bytes) -> Reply:
        try:
            return await self._try(request)
        except StaleConnectionError:  # as every client does once
            return await self._try(request)

    async def _try(self, request: bytes) -> Reply:
        caller = await self._caller()
        reply = await caller.call(request)
        self._free.append(caller)
        return reply

    async def _caller(self) -> Caller:
        while self._free:
            caller = self._free.pop()
            if caller.is_open:
                return caller
        caller = await self._new_caller()
        self._open.append(caller)
        return caller

    async def _new_caller(self) -> Caller:
        if self._plan.is_grpc:
            return GrpcCaller(self._plan.host, self._plan.port, self._plan.token)
        return await connect(self._plan.host, self._plan.port)

    def _outcome(self, traffic: Traffic, call: Call, due: float, reply: Reply | str) -> Outcome:
        now = time.perf_counter()
        error = reply if isinstance(reply, str) else _fault(reply, call)
        if isinstance(reply, str):
            reply = Reply(first_at=now, ended_at=now)
        return Outcome(
            traffic=traffic.name,
            num_tokens=call.num_tokens,
            started=due - self._begin,
            first=reply.first_at - self._begin,
            ended=reply.ended_at - self._begin,
            num_events=reply.body.count(b"data: "),
            error=error,
        )


def _fault(reply: Reply, call: Call) -> str:
    """What is wrong with a reply; nothing when it holds as many tokens as were asked for."""
    if reply.status != 200:
        return f"status {reply.status}: {reply.body[:200].decode(errors='replace')}"
    if call.num_tokens == 0:
        return ""
    counts = _COMPLETION_TOKENS.findall(reply.body)
    if not counts:
        return f"no count of tokens: {reply.body[:200].decode(errors='replace')}"
    return "" if int(counts[-1]) == call.num_tokens else f"{int(counts[-1])} tokens, not {call.num_tokens}"
