"""Releases: the state file, what a start loads, and which version comes next."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from client.release import next_version
from server.config import parse_properties, render_config
from server.errors import ServerError
from server.releases import (
    Release,
    Releases,
    archives_to_load,
    read_releases,
    releases_path,
    write_releases,
)
from server.settings import Settings, read_settings

pytestmark = pytest.mark.unit
FIRST, SECOND = Release("1.0", "neuroq-1.0.mar"), Release("2.0", "neuroq-2.0.mar")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return read_settings({"model_store": str(tmp_path)}, {}, tmp_path)


@pytest.mark.parametrize("releases", [Releases(FIRST), Releases(SECOND, FIRST)])
def test_the_file_keeps_them(tmp_path: Path, releases: Releases) -> None:
    assert read_releases(tmp_path) is None
    write_releases(tmp_path, releases)
    assert read_releases(tmp_path) == releases
    assert [path.name for path in tmp_path.iterdir()] == ["releases.json"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"current": {"version": "1.0"}, "previous": null}'])
def test_a_broken_file_is_no_reason_to_serve_something_else(tmp_path: Path, text: str) -> None:
    releases_path(tmp_path).write_text(text)
    with pytest.raises(ServerError, match=r"releases\.json cannot be read"):
        read_releases(tmp_path)


def test_an_archive_never_lies_outside_the_model_store(settings: Settings) -> None:
    record = {"current": {"version": "1.0", "archive": "../../etc/x.mar"}, "previous": None}
    releases_path(settings.model_store).write_text(json.dumps(record))
    assert archives_to_load(settings) == [settings.model_store / "x.mar"]


def test_promotion_and_rollback() -> None:
    third = Release("3.0", "neuroq-3.0.mar")
    assert Releases(FIRST).promoted(SECOND) == Releases(SECOND, FIRST)
    assert Releases(SECOND, FIRST).promoted(third) == Releases(third, SECOND)
    assert Releases(SECOND, FIRST).rolled_back() == Releases(FIRST, SECOND)
    with pytest.raises(ServerError, match=r"no version before 1\.0"):
        Releases(FIRST).rolled_back()


def test_a_start_loads_the_current_one_first_and_the_previous_one_while_it_is_there(
    settings: Settings,
) -> None:
    assert archives_to_load(settings) == [settings.archive]
    write_releases(settings.model_store, Releases(SECOND, FIRST))
    assert [path.name for path in archives_to_load(settings)] == ["neuroq-2.0.mar"]
    (settings.model_store / "neuroq-1.0.mar").touch()
    archives = archives_to_load(settings)
    assert [path.name for path in archives] == ["neuroq-2.0.mar", "neuroq-1.0.mar"]
    properties = parse_properties(render_config("", settings, archives))
    assert properties["load_models"] == "neuroq-2.0.mar,neuroq-1.0.mar"


@pytest.mark.parametrize(
    ("taken", "version"),
    [
        ([], "1.0"),
        (["1.0"], "2.0"),
        (["1.0", "2.5"], "3.0"),
        (["9.0", "10.1", "2.0"], "11.0"),
        (["x"], "1.0"),
    ],
)
def test_the_next_version(taken: list[str], version: str) -> None:
    assert next_version(taken) == version
