"""The lock between workers that answer and whoever stops the server, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from handler.in_flight import InFlight
from server.drain import drain
from server.settings import Settings, read_settings
from tests.conftest import ROOT

pytestmark = pytest.mark.unit
WORKER = """
import sys
from handler.in_flight import InFlight
in_flight = InFlight(sys.argv[1])
print(in_flight.enter(), flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return read_settings({"run_dir": str(tmp_path)}, {}, tmp_path)


def test_without_a_file_it_is_open_for_ever() -> None:
    in_flight = InFlight("")
    assert in_flight.enter()
    in_flight.leave()
    assert not in_flight.is_closed


def test_an_idle_server_is_drained_at_once_and_takes_nobody_afterwards(settings: Settings) -> None:
    in_flight = InFlight(str(settings.in_flight_path))
    assert in_flight.enter()
    in_flight.leave()
    assert drain(settings, 1)
    assert in_flight.is_closed
    assert not in_flight.enter()


def test_a_busy_server_is_waited_for_and_closed_meanwhile(settings: Settings) -> None:
    in_flight = InFlight(str(settings.in_flight_path))
    assert in_flight.enter()
    assert not drain(settings, 0.1)
    assert not in_flight.enter()
    in_flight.leave()
    assert drain(settings, 0.1)


def test_a_dead_worker_holds_nobody_up(settings: Settings) -> None:
    command = [sys.executable, "-c", WORKER, str(settings.in_flight_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"True\n"
        assert not drain(settings, 0.1)
        worker.kill()
    assert drain(settings, 0.1)
