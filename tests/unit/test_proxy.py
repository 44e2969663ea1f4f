"""The proxy's settings: the operator's token from the environment or a file, and what HAProxy gets of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from server.errors import SettingsError
from server.proxy import CONFIG, ProxySettings, proxy_environment, read_proxy_settings
from server.settings import read_settings
from server.state import ServerState

pytestmark = pytest.mark.unit
GOOD = "correct-horse-battery"


def test_without_a_token_there_is_no_proxy() -> None:
    assert read_proxy_settings({}) is None


def test_the_token_comes_from_the_environment_or_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(GOOD + "\n")
    expected = ProxySettings(GOOD, "127.0.0.1", 8000, 7000)
    assert read_proxy_settings({"NEUROQ_TOKEN": GOOD}) == expected
    assert read_proxy_settings({"NEUROQ_TOKEN_FILE": str(path), "NEUROQ_TOKEN": ""}) == expected
    assert GOOD not in repr(expected)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"NEUROQ_PROXY_HOST": "0.0.0.0"}, ["NEUROQ_TOKEN or NEUROQ_TOKEN_FILE", "NEUROQ_PROXY_HOST"]),
        ({"NEUROQ_TOKEN": "short"}, ["NEUROQ_TOKEN ", "16 to 256"]),
        ({"NEUROQ_TOKEN": "with a space in the middle"}, ["NEUROQ_TOKEN ", "no spaces"]),
        ({"NEUROQ_TOKEN": "日本語" * 8}, ["ASCII"]),
        ({"NEUROQ_TOKEN_FILE": "/nowhere/token"}, ["NEUROQ_TOKEN_FILE", "/nowhere/token"]),
        ({"NEUROQ_TOKEN_FILE": os.devnull}, ["NEUROQ_TOKEN_FILE", "16 to 256"]),
        ({"NEUROQ_TOKEN": GOOD, "NEUROQ_TOKEN_FILE": "/x"}, ["both"]),
        ({"NEUROQ_TOKEN": GOOD, "NEUROQ_PROXY_PORT": "0"}, ["NEUROQ_PROXY_PORT", "1 to 65535"]),
        ({"NEUROQ_TOKEN": GOOD, "NEUROQ_PROXY_HOST": "::"}, ["NEUROQ_PROXY_HOST", "IPv4"]),
    ],
)
def test_a_bad_value_is_one_line_that_names_it_and_never_shows_the_token(
    environment: dict[str, str], words: list[str]
) -> None:
    with pytest.raises(SettingsError) as caught:
        read_proxy_settings(environment)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words)
    assert environment.get("NEUROQ_TOKEN", "-") not in message.replace("NEUROQ_TOKEN", "")


def test_haproxy_gets_all_that_its_configuration_names_and_no_token(tmp_path: Path) -> None:
    key = {"key": "torchserve", "expiration time": "2130-01-01T00:00:00Z"}
    record = {"inference": key, "management": key, "API": key}
    (tmp_path / "key_file.json").write_text(json.dumps(record))
    state = ServerState(1, 0.0, "", "", read_settings({"run_dir": str(tmp_path)}, {}, tmp_path))
    environment = proxy_environment(ProxySettings(GOOD, "0.0.0.0", 1, 2), state, 0.5)
    text = "\n".join(line for line in CONFIG.read_text().splitlines() if not line.lstrip().startswith("#"))
    assert {name for name in environment if f'"${{{name}}}' in text or f"{{{name}}}" in text} == set(
        environment
    )
    assert text.count("${") == sum(text.count(f"${{{name}}}") for name in environment)
    assert GOOD not in str(environment)
    assert environment["GRACE_MILLISECONDS"] == "500"
