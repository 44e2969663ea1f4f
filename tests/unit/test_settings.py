"""Options and environment to Settings: pure, so a table."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.errors import SettingsError
from server.settings import OPTIONS, PORT_OPTIONS, read_settings

pytestmark = pytest.mark.unit
ROOT = Path("/somewhere")


@pytest.mark.parametrize(
    ("options", "environment", "field", "expected"),
    [
        ({}, {}, "run_dir", ROOT / "run"),
        ({}, {}, "model_store", ROOT / "model_store"),
        ({}, {}, "checkpoint_path", "/somewhere/checkpoints/neuroq_checkpoint.pt"),
        ({}, {}, "profile", "continuous"),
        ({}, {}, "host", "127.0.0.1"),
        ({}, {}, "port", 8080),
        ({}, {}, "management_port", 8081),
        ({}, {}, "metrics_port", 8082),
        ({}, {}, "grpc_port", 7070),
        ({}, {}, "grpc_management_port", 7071),
        ({}, {"NEUROQ_PORT": "9000"}, "port", 9000),
        ({"port": "9001"}, {"NEUROQ_PORT": "9000"}, "port", 9001),
        ({"port": None}, {"NEUROQ_PORT": ""}, "port", 8080),
        ({"run_dir": "/tmp/a"}, {}, "run_dir", Path("/tmp/a")),
        ({}, {"NEUROQ_RUN_DIR": "b/c"}, "run_dir", ROOT / "b/c"),
        ({}, {"NEUROQ_CHECKPOINT_PATH": "s3://bucket/x.pt"}, "checkpoint_path", "s3://bucket/x.pt"),
        ({}, {"NEUROQ_MODEL_STORE": "s3://bucket/x/"}, "remote_store", "s3://bucket/x/"),
        ({"model_store": "gs://bucket"}, {}, "model_store", ROOT / "run/model_store"),
        ({}, {}, "remote_store", ""),
        ({}, {"NEUROQ_ARCHIVE_PATH": "volume/x.mar"}, "archive_path", "/somewhere/volume/x.mar"),
        ({"archive_path": "s3://bucket/x.mar"}, {}, "archive_path", "s3://bucket/x.mar"),
        ({"archive_path": "x.mar", "model_store": "y"}, {}, "model_store", ROOT / "run/model_store"),
        ({"profile": "workers"}, {}, "profile", "workers"),
        ({}, {"NEUROQ_HOST": "0.0.0.0"}, "host", "0.0.0.0"),
        ({}, {}, "training", False),
        ({}, {"NEUROQ_TRAINING": "true"}, "training", True),
        ({"training": "false"}, {"NEUROQ_TRAINING": "true"}, "training", False),
        ({"training_memory": "16"}, {}, "training_memory", 16),
        ({}, {"NEUROQ_TRAINING_MINUTES": "20"}, "training_minutes", 20),
        ({}, {}, "session_store", ""),
        ({}, {"NEUROQ_SESSION_STORE": "rediss://h/1"}, "session_store", "rediss://h/1"),
        ({"session_store_away": "refuse"}, {}, "session_store_away", "refuse"),
    ],
)
def test_value(
    options: dict[str, str | None], environment: dict[str, str], field: str, expected: object
) -> None:
    assert getattr(read_settings(options, environment, ROOT), field) == expected


@pytest.mark.parametrize(
    ("options", "environment", "field", "expected"),
    [
        ({}, {}, "run_dir", ROOT / "run"),
        ({}, {}, "checkpoint_path", "/somewhere/checkpoints/neuroq_checkpoint.pt"),
        ({}, {}, "model_store", ROOT / "model_store"),
        ({"run_dir": "r"}, {}, "run_dir", Path("/tmp/user/r")),
        ({}, {"NEUROQ_RUN_DIR": "r"}, "run_dir", Path("/tmp/user/r")),
        ({"checkpoint_path": "out/x.pt"}, {}, "checkpoint_path", "/tmp/user/out/x.pt"),
        ({}, {"NEUROQ_CHECKPOINT_PATH": "/x.pt"}, "checkpoint_path", "/x.pt"),
        ({}, {"NEUROQ_MODEL_STORE": "store"}, "model_store", Path("/tmp/user/store")),
        ({"archive_path": "x.mar"}, {}, "archive_path", "/tmp/user/x.mar"),
        ({"checkpoint_path": "s3://bucket/x.pt"}, {}, "checkpoint_path", "s3://bucket/x.pt"),
    ],
)
def test_what_is_given_starts_where_the_user_stands(
    options: dict[str, str | None], environment: dict[str, str], field: str, expected: object
) -> None:
    settings = read_settings(options, environment, ROOT, Path("/tmp/user"))
    assert getattr(settings, field) == expected


@pytest.mark.parametrize(
    ("options", "environment", "words"),
    [
        ({"port": "0"}, {}, ["--port", "1 to 65535", "'0'"]),
        ({"port": "65536"}, {}, ["--port", "1 to 65535"]),
        ({"port": "８０"}, {}, ["--port"]),
        ({}, {"NEUROQ_GRPC_PORT": "-1"}, ["NEUROQ_GRPC_PORT", "1 to 65535"]),
        ({}, {"NEUROQ_PROFILE": "fast"}, ["NEUROQ_PROFILE", "continuous, workers"]),
        ({"host": "::1"}, {}, ["--host", "IPv4"]),
        ({}, {"NEUROQ_TRAINING": "yes"}, ["NEUROQ_TRAINING", "true or false", "'yes'"]),
        ({"training_minutes": "0"}, {}, ["--training-minutes", "1 to 999999"]),
        ({"host": "http://x"}, {}, ["--host"]),
        ({"session_store": "http://x"}, {}, ["--session-store", "redis://HOST:PORT/DB", "SQLite"]),
        ({}, {"NEUROQ_SESSION_STORE": "redis://h/abc"}, ["NEUROQ_SESSION_STORE", "redis://HOST:PORT/DB"]),
        ({}, {"NEUROQ_SESSION_STORE_AWAY": "no"}, ["NEUROQ_SESSION_STORE_AWAY", "answer or refuse"]),
        ({"port": "8081"}, {}, ["--port", "--management-port", "8081"]),
        ({"checkpoint_path": "s3:/b/x.pt"}, {}, ["--checkpoint-path", "s3://BUCKET/KEY", "'s3:/b/x.pt'"]),
        ({"archive_path": "s3://bucket"}, {}, ["--archive-path", "an object below the bucket"]),
        ({}, {"NEUROQ_MODEL_STORE": "http://x/y"}, ["NEUROQ_MODEL_STORE", "gs://BUCKET/KEY"]),
        ({"archive_path": "x.mar", "model_store": "s3://bucket/a"}, {}, ["--archive-path", "exclude"]),
    ],
)
def test_bad_value_is_one_line_that_names_it(
    options: dict[str, str | None], environment: dict[str, str], words: list[str]
) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(options, environment, ROOT)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words)


def test_every_option_has_a_variable_of_its_own() -> None:
    assert len({option.variable for option in OPTIONS}) == len(OPTIONS)
    assert {option.flag for option in PORT_OPTIONS} == {
        "--port",
        "--management-port",
        "--metrics-port",
        "--grpc-port",
        "--grpc-management-port",
    }


def test_every_interface_is_called_at_loopback_and_only_rest_inference_leaves_it() -> None:
    settings = read_settings({"host": "0.0.0.0"}, {}, ROOT)
    assert settings.addresses["inference"] == "http://127.0.0.1:8080"
    settings = read_settings({"host": "10.0.0.5"}, {}, ROOT)
    assert settings.addresses.pop("inference") == "http://10.0.0.5:8080"
    assert all("127.0.0.1" in address for address in settings.addresses.values() if "10.0.0.5" not in address)
