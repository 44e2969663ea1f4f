from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from handler.settings import HandlerSettings, read_settings, sessions_path
from tests.conftest import ROOT

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("name", ["model-config.yaml", "model-config.workers.yaml"])
def test_the_profiles_can_be_read(name: str) -> None:
    config = yaml.safe_load((ROOT / "handler" / name).read_text())
    settings = read_settings(config, {})
    assert settings == HandlerSettings()  # the files spell the defaults out
    if config["continuousBatching"]:
        assert (config["minWorkers"], config["maxWorkers"]) == (1, 1)
        assert config["batchSize"] > settings.slots + settings.max_waiting
    else:
        assert config["batchSize"] <= settings.slots + settings.max_waiting
        assert config["responseTimeout"] > settings.deadline_seconds


def test_the_environment_names_the_sessions_file(tmp_path: Path) -> None:
    settings = read_settings({}, {"NEUROQ_SESSIONS_PATH": str(tmp_path / "a" / "s.db")})
    assert sessions_path(settings.sessions) == tmp_path / "a" / "s.db"
    assert (tmp_path / "a").is_dir()


def test_the_environment_names_the_store_of_the_sessions() -> None:
    away = {"NEUROQ_SESSION_STORE_AWAY": "refuse"}
    settings = read_settings({}, {"NEUROQ_SESSION_STORE": "redis://h/0", **away}).sessions
    assert (settings.store, settings.store_away) == ("redis://h/0", "refuse")
    assert read_settings({"handler": {"sessions": {"store": "redis://h/0"}}}, {}).sessions.store


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        ({"slot": 3}, "unknown setting slot"),
        ({"slots": "3"}, "slots must be like 32, got '3'"),
        ({"slots": True}, "slots must be like 32"),
        ({"slots": 0}, "slots must be positive"),
        ({"sessions": {"max_turns": -1}}, "max_turns must be positive"),
        ({"sessions": {"share_default": 1}}, "share_default must be like True"),
        ({"sessions": {"store": "localhost"}}, "NEUROQ_SESSION_STORE must be redis://"),
        ({"sessions": {"store_away": "no"}}, "must be answer or refuse, not 'no'"),
        ({"training": {"enabled": "yes"}}, "enabled must be like False, got 'yes'"),
        ({"training": {"enabled": True}}, "training.enabled needs training.command"),
    ],
)
def test_a_bad_setting_is_named(handler: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_settings({"handler": handler}, {})


def test_the_environment_switches_training_on_and_off() -> None:
    given = {"NEUROQ_TRAINING_COMMAND": "run", "NEUROQ_TRAINING_PATH": "/jobs"}
    assert not read_settings({}, given).training.enabled
    settings = read_settings({}, {**given, "NEUROQ_TRAINING": "true"}).training
    assert (settings.enabled, settings.command, settings.path) == (True, "run", "/jobs")
    config = {"handler": {"training": {"enabled": True, "command": "run", "path": "/jobs"}}}
    assert read_settings(config, {}).training.enabled
    assert not read_settings(config, {"NEUROQ_TRAINING": "false"}).training.enabled


def test_whole_numbers_stand_for_seconds_too() -> None:
    assert read_settings({"handler": {"deadline_seconds": 5}}, {}).deadline_seconds == 5
