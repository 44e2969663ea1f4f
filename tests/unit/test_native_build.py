from __future__ import annotations

from pathlib import Path

import pytest

from model.native import build

pytestmark = pytest.mark.unit


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(build, "_LIBRARIES", tmp_path / "lib")
    build._path.cache_clear()
    yield tmp_path / "lib"
    build._path.cache_clear()


@pytest.mark.parametrize(("arguments", "status"), [([], 1), (["--optional"], 0)])
@pytest.mark.parametrize("compiler", ["no-such-compiler", "false"])
def test_without_a_compiler_it_says_so_in_one_line(
    elsewhere: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    compiler: str,
    arguments: list[str],
    status: int,
) -> None:
    monkeypatch.setenv("CXX", compiler)
    monkeypatch.setattr("sys.argv", ["build", *arguments])
    assert build.main() == status
    output = capsys.readouterr()
    assert output.out == ""
    assert len(output.err.splitlines()) == 1
    assert "native library not built" in output.err
    assert build.library_path() is None
    assert [path.name for path in elsewhere.iterdir()] == []


def test_where_nothing_can_be_written_it_says_so(elsewhere: Path) -> None:
    """As in an image: root can write anywhere, so a file is in the way here."""
    elsewhere.write_text("")
    with pytest.raises(build.BuildError, match=f"{elsewhere} cannot be written: File exists"):
        build.build()


def test_a_library_that_is_there_is_not_built_again(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr("sys.argv", ["build"])
    elsewhere.mkdir()
    build._path().touch()
    assert build.main() == 0
    assert "already" in capsys.readouterr().out


def test_other_sources_have_another_library(
    elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build._path()
    sources = tmp_path / "src"
    sources.mkdir()
    for source in build._SOURCES.iterdir():
        (sources / source.name).write_bytes(source.read_bytes() + b"\n")
    monkeypatch.setattr(build, "_SOURCES", sources)
    build._path.cache_clear()
    assert build._path() != first
    assert first.name.startswith("libneuroq-")
    assert len(first.stem.removeprefix("libneuroq-")) == 12
