"""What the server's side reads: keys, logs, archives, Java runtimes, its own state."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import zipfile
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import psutil
import pytest

from server.archive import archive_profile, require_archive
from server.environment import TOOLS, server_environment
from server.errors import NotRunningError, ServerError
from server.java import find_system_java, java_version
from server.keys import parse_instant, parse_keys
from server.logs import FRONT_END_LOG, WORKER_LOG, mark_logs, telling_lines
from server.ports import free_ports, require_free_ports
from server.settings import Settings, read_settings
from server.state import ServerState, read_state, running_state, state_path, write_state

pytestmark = pytest.mark.unit
KEY_FILE = {
    "management": {"key": "m", "expiration time": "2030-01-01T00:10:00.123456789Z"},
    "inference": {"key": "i", "expiration time": "2030-01-01T00:00:30Z"},
    "API": {"key": "a"},
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return read_settings({"run_dir": str(tmp_path / "run"), "model_store": str(tmp_path)}, {}, tmp_path)


def test_only_a_token_in_its_last_minute_wants_renewal() -> None:
    keys = parse_keys(json.dumps(KEY_FILE))
    midnight = datetime(2030, 1, 1, tzinfo=timezone.utc)
    assert keys.ending(midnight) == ["inference"]
    assert keys.ending(midnight + timedelta(hours=1)) == ["inference", "management"]
    assert keys.ending(midnight - timedelta(hours=1)) == []


@pytest.mark.parametrize("text", ["2030-01-01T00:00:00Z", "2030-01-01T00:00:00.1Z"])
def test_java_instant(text: str) -> None:
    assert parse_instant(text) == datetime(2030, 1, 1, tzinfo=timezone.utc)


def test_no_java_instant() -> None:
    with pytest.raises(ValueError, match="not an instant"):
        parse_instant("yesterday")


@pytest.mark.parametrize(
    ("release", "version"),
    [('JAVA_VERSION="17.0.15"', 17), ('JAVA_VERSION="1.8.0_412"', 8), ('JAVA_VERSION="21"', 21), ("", 0)],
)
def test_java_version(tmp_path: Path, release: str, version: int) -> None:
    (tmp_path / "release").write_text(release)
    assert java_version(tmp_path) == version


def test_an_old_java_on_the_path_is_none(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").touch(mode=0o755)
    (tmp_path / "release").write_text('JAVA_VERSION="11.0.1"')
    assert find_system_java({"PATH": str(tmp_path / "bin")}) is None
    (tmp_path / "release").write_text('JAVA_VERSION="17.0.1"')
    assert find_system_java({"PATH": str(tmp_path / "bin")}) == tmp_path
    assert find_system_java({"JAVA_HOME": str(tmp_path), "PATH": ""}) == tmp_path


def test_the_logs_of_an_earlier_start_do_not_count(settings: Settings) -> None:
    settings.log_dir.mkdir(parents=True)
    line = "2026-01-01T00:00:00,000 [WARN ] W-9000 org.x.WorkerThread - Auto recovery failed again\n"
    (settings.log_dir / FRONT_END_LOG).write_text(line * 5)
    mark = mark_logs(settings)
    assert mark.num_worker_failures == 0
    with (settings.log_dir / FRONT_END_LOG).open("a") as log:
        log.write(line * 2)
    assert mark.num_worker_failures == 3  # the first failure has no such line
    with (settings.log_dir / WORKER_LOG).open("w") as log:
        log.write("2026-01-01T00:00:00,000 [INFO ] W-1 MODEL_LOG - ValueError: wrong tokenizer\n")
    assert "  ValueError: wrong tokenizer\n" in mark.explanation()


def test_errors_tell_more_than_frames() -> None:
    head = "2026-01-01T00:00:00,000 [INFO ] W-9000-neuroq_1.0-stdout MODEL_LOG - "
    lines = ["Traceback (most recent call last):", '  File "x.py", line 1', "ValueError: a", "ValueError: a"]
    assert telling_lines("\n".join(head + line for line in lines)) == ["ValueError: a"]
    assert telling_lines("Invalid heap size: -Xmx1x\nError: no JVM\n\tat a.b(C.java:1)") == [
        "Invalid heap size: -Xmx1x",
        "Error: no JVM",
    ]


@pytest.mark.parametrize(
    ("yaml", "profile"), [("continuousBatching: true", "continuous"), ("a: 1", "workers")]
)
def test_the_archive_tells_its_profile(tmp_path: Path, yaml: str, profile: str) -> None:
    path = tmp_path / "neuroq.mar"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps({"model": {"configFile": "c.yaml"}}))
        archive.writestr("c.yaml", yaml)
    require_archive(path)
    assert archive_profile(path) == profile


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "neuroq.mar"
    with pytest.raises(ServerError, match="no model archive"):
        require_archive(path)
    path.write_text("text")
    assert archive_profile(path) is None
    with pytest.raises(ServerError, match="no model archive"):
        require_archive(path)


def test_a_taken_port_is_named_with_its_option(settings: Settings) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ServerError, match=rf"127\.0\.0\.1:{port} .* --metrics-port"):
            require_free_ports(replace(settings, **other_ports(), metrics_port=port))


def other_ports() -> dict[str, int]:
    fields = ("port", "management_port", "grpc_port", "grpc_management_port")
    return dict(zip(fields, free_ports(len(fields)), strict=True))


def test_the_environment_cannot_change_the_configuration(settings: Settings) -> None:
    given = {"TS_CONFIG_FILE": "/evil", "TS_ALLOWED_URLS": ".*", "LANG": "C", "NEUROQ_X": "y", "PATH": "/bin"}
    environment = server_environment(given, settings, Path("/java"), Path("/tmp/nq-1"))
    assert not [name for name in environment if name.startswith("TS_")]
    assert environment["TMPDIR"] == environment["TEMP"] == "/tmp/nq-1"
    assert environment["NEUROQ_X"] == "y"
    assert environment["LC_ALL"] == "C.UTF-8"
    assert environment["NEUROQ_SESSIONS_PATH"] == str(settings.run_dir / "sessions.db")
    assert environment["PATH"].endswith(f":/java/bin:/bin:{TOOLS}")  # the machine's own programs come first


def test_the_handler_is_told_where_conversations_are(settings: Settings) -> None:
    settings = replace(settings, session_store="redis://:secret@h/0", session_store_away="refuse")
    environment = server_environment({}, settings, Path("/java"), Path("/tmp/nq-1"))
    assert environment["NEUROQ_SESSION_STORE"] == "redis://:secret@h/0"
    assert environment["NEUROQ_SESSION_STORE_AWAY"] == "refuse"


def test_the_handler_is_told_whether_requests_may_train(settings: Settings) -> None:
    given = {"NEUROQ_TRAINING": "true"}  # what was asked for may be another's; the settings decide
    off = server_environment(given, settings, Path("/java"), Path("/tmp/nq-1"))
    assert [off[name] for name in off if name.startswith("NEUROQ_TRAINING")] == ["false"]
    settings = replace(settings, training=True, training_memory=2, training_minutes=30)
    on = server_environment({}, settings, Path("/java"), Path("/tmp/nq-1"))
    assert on["NEUROQ_TRAINING"] == "true"
    assert on["NEUROQ_TRAINING_PATH"] == str(settings.run_dir / "jobs")
    command = shlex.split(on["NEUROQ_TRAINING_COMMAND"])
    assert command[-6:] == ["--run-dir", str(settings.run_dir), "--memory", "2", "--minutes", "30"]
    assert subprocess.run([*command, "--help"], cwd="/", capture_output=True, check=False).returncode == 0


def test_torchserve_finds_a_kill_program_on_a_slim_machine() -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    subprocess.run(["kill", "-9", str(sleeper.pid)], env={"PATH": str(TOOLS)}, check=True)
    assert sleeper.wait(timeout=10) == -9


@pytest.mark.parametrize("locale", ["ja_JP.UTF-8", "C.utf8"])
def test_a_locale_that_can_write_names_is_kept(settings: Settings, locale: str) -> None:
    assert "LC_ALL" not in server_environment({"LANG": locale}, settings, Path("/java"), Path("/t"))


def test_a_process_is_told_by_its_number_and_start(settings: Settings) -> None:
    # Not by its command line: that is empty for a moment after every start.
    state = ServerState(os.getpid(), psutil.Process().create_time(), "/tmp/none", "", settings)
    assert state.is_alive
    assert not replace(state, create_time=state.create_time - 60).is_alive


def test_state_survives_writing_and_a_strange_process_is_not_ours(settings: Settings) -> None:
    settings.run_dir.mkdir()
    state = ServerState(1, 0.0, "/tmp/none", "2030-01-01T00:00:00+00:00", settings)
    write_state(state)
    assert read_state(settings.run_dir) == state
    assert state_path(settings.run_dir).stat().st_mode & 0o077 == 0
    assert not state.is_alive
    with pytest.raises(NotRunningError, match="neuroq serve"):
        running_state(settings.run_dir)
    record = json.loads(state_path(settings.run_dir).read_text())
    del record["settings"]["training"]  # of a server that an older version has started
    state_path(settings.run_dir).write_text(json.dumps(record))
    assert read_state(settings.run_dir) == state
    state_path(settings.run_dir).write_text("{")
    assert read_state(settings.run_dir) is None
