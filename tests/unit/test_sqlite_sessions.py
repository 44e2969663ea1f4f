"""What only the store in a file can be asked: a clock of one's own, processes, file modes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from handler.settings import SessionSettings
from handler.sqlite_sessions import SqliteSessions
from model.dialogue import Turn

pytestmark = pytest.mark.unit


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def open_store(folder: Path, clock: Clock) -> SqliteSessions:
    return SqliteSessions(folder / "s.db", SessionSettings(), clock)


def test_a_hold_ends_with_its_time(tmp_path: Path, clock: Clock) -> None:
    one, two = open_store(tmp_path, clock), open_store(tmp_path, clock)
    one.take("a", 10)
    clock.now += 11
    assert two.take("a", 10) == []
    assert not one.give_back("a", [Turn("user", "too late"), Turn("assistant", "lost")])
    assert two.give_back("a")
    assert two.take("a", 10) == []


def test_a_hold_ends_with_its_process(tmp_path: Path, clock: Clock) -> None:
    code = (
        "from pathlib import Path\nfrom handler.sqlite_sessions import SqliteSessions\n"
        "from handler.settings import SessionSettings\n"
        f"assert SqliteSessions(Path({str(tmp_path / 's.db')!r}), SessionSettings()).take('a', 1e9) == []"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert open_store(tmp_path, clock).take("a", 10) == []


def test_the_file_is_private(tmp_path: Path, clock: Clock) -> None:
    open_store(tmp_path, clock)
    assert (tmp_path / "s.db").stat().st_mode & 0o077 == 0
