"""Releases: the state file, what a start loads, and which version comes next."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from client.canary import RECORD, Trial, take_back, take_back_killed, trial_folder
from client.release import next_version
from client.serving import only_one
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


@pytest.fixture
def killed(settings: Settings) -> Settings:
    """A release of version 2.0 that was killed, with its archive half in the model store."""
    settings = replace(settings, run_dir=settings.model_store / "run")
    folder = trial_folder(settings.run_dir)
    folder.mkdir(parents=True)
    (folder / RECORD).write_text(json.dumps(asdict(Trial(FIRST, SECOND))))
    (folder / ".package-x").mkdir()
    for release in (FIRST, SECOND):
        (settings.model_store / release.archive).touch()
    return settings


def test_what_a_killed_release_has_left_is_taken_away(killed: Settings) -> None:
    take_back_killed(killed)
    assert sorted(path.name for path in killed.model_store.iterdir()) == ["neuroq-1.0.mar", "run"]
    assert list(killed.run_dir.iterdir()) == []
    take_back_killed(killed)  # nothing is left to do


def test_a_release_that_was_killed_after_its_promotion_is_one(killed: Settings) -> None:
    write_releases(killed.model_store, Releases(SECOND, FIRST))
    take_back(killed, None)
    assert (killed.model_store / SECOND.archive).exists()
    assert not trial_folder(killed.run_dir).exists()


def test_a_release_that_runs_is_left_alone(killed: Settings) -> None:
    with only_one(killed.run_dir):
        take_back_killed(killed, waits=False)
    assert trial_folder(killed.run_dir).exists()
