"""Replacing files: all of them or none."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import BinaryIO

import pytest

from model.files import replace_files

pytestmark = pytest.mark.unit


def content(value: bytes):
    return lambda file: file.write(value)


def fail(file: BinaryIO) -> None:
    file.write(b"a part")
    raise OSError(errno.ENOSPC, "No space left on device")


def interrupt(file: BinaryIO) -> None:
    raise KeyboardInterrupt


def test_files_are_replaced_together(tmp_path: Path) -> None:
    one, two = tmp_path / "new" / "one", tmp_path / "two"
    two.write_bytes(b"old")
    (tmp_path / ".two.tmp").write_bytes(b"what a killed process left")
    replace_files({one: content(b"1"), two: content(b"2")})
    assert (one.read_bytes(), two.read_bytes()) == (b"1", b"2")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["new", "one", "two"]


@pytest.mark.parametrize(("failing", "error"), [(fail, OSError), (interrupt, KeyboardInterrupt)])
def test_when_one_fails_all_stay(tmp_path: Path, failing, error: type[BaseException]) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"old")
    with pytest.raises(error) as raised:
        replace_files({one: content(b"1"), two: failing})
    if isinstance(raised.value, OSError):
        assert (raised.value.filename, raised.value.errno) == (str(two), errno.ENOSPC)
    assert one.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [one]
