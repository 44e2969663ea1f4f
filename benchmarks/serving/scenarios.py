"""Who asks for what at the same time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.serving.kinds import Kind, Wire
from benchmarks.serving.load import Call, Traffic
from benchmarks.serving.systems import System
from benchmarks.serving.workload import LONG, MIXED, SHORT, Ask, Mix

HEALTH = "health"
_HEALTH_PAUSE = 0.01  # seconds between an answer and the next check


@dataclass(frozen=True)
class Clients:
    """Clients of one kind, as load.Traffic has them; without a mix they check the server's health."""

    mix: Mix | None
    clients: int = 0
    rate: float = 0.0

    @property
    def name(self) -> str:
        """What the figures of these clients go by."""
        return self.mix.name if self.mix else HEALTH


@dataclass(frozen=True)
class Scenario:
    """One situation that is measured."""

    name: str
    kind: Kind
    wire: Wire
    groups: tuple[Clients, ...]

    @property
    def rate(self) -> float:
        """Requests a second that arrive by themselves."""
        return sum(group.rate for group in self.groups)

    def traffics(self, system: System, asks: Mapping[Mix, Sequence[Ask]]) -> list[Traffic]:
        """Return what the load generator sends to a system."""
        return [self._traffic(group, system, asks) for group in self.groups]

    def _traffic(self, group: Clients, system: System, asks: Mapping[Mix, Sequence[Ask]]) -> Traffic:
        if group.mix is None:
            calls: list[Call] = [system.health_call()]
            return Traffic(group.name, calls, clients=group.clients, pause=_HEALTH_PAUSE)
        calls = system.calls(asks[group.mix], self.wire)
        return Traffic(group.name, calls, clients=group.clients, rate=group.rate)


def closed_loop(num_clients: int, wire: Wire) -> Scenario:
    """Clients that each wait for their answer, outputs of 10 to 200 tokens."""
    return Scenario(f"{num_clients} clients", Kind.CLOSED, wire, (Clients(MIXED, clients=num_clients),))


def open_loop(rate: float) -> Scenario:
    """Arrivals at random moments, outputs of 10 to 200 tokens."""
    return Scenario(f"{rate:g} requests/s", Kind.OPEN, Wire.REST, (Clients(MIXED, rate=rate),))


def _rest(name: str, kind: Kind, *groups: Clients) -> Scenario:
    return Scenario(name, kind, Wire.REST, groups)


SHORT_ALONE = _rest("8 short", Kind.NEIGHBOURS, Clients(SHORT, clients=8))
SHORT_AMONG_SHORT = _rest("32 short", Kind.NEIGHBOURS, Clients(SHORT, clients=32))
SHORT_BESIDE_LONG = _rest(
    "8 short beside 24 long", Kind.NEIGHBOURS, Clients(SHORT, clients=8), Clients(LONG, clients=24)
)
HEALTH_IDLE = _rest("health, idle", Kind.HEALTH, Clients(None, clients=1))
HEALTH_SATURATED = _rest(
    "health beside 32 long", Kind.HEALTH, Clients(None, clients=1), Clients(LONG, clients=32)
)
NEIGHBOURS = (SHORT_ALONE, SHORT_AMONG_SHORT, SHORT_BESIDE_LONG, HEALTH_IDLE, HEALTH_SATURATED)


def all_scenarios(concurrencies: Iterable[int], rates: Iterable[float]) -> list[Scenario]:
    """Return every scenario of the benchmark."""
    closed = [closed_loop(clients, wire) for clients in concurrencies for wire in Wire]
    return [*closed, *(open_loop(rate) for rate in rates), *NEIGHBOURS]
