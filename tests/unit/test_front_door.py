"""./neuroq before its environment exists: Python's version, help, and the environment's stamp."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from client import installation
from client.cli import cli
from client.installation import InstallationError, prepare, read_stamp

pytestmark = pytest.mark.unit
ROOT = Path(__file__).resolve().parents[2]
DOOR = ROOT / "neuroq"


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script where any installation would fail at once."""
    environment = {**os.environ, "NEUROQ_VENV": "/proc/none"}
    command = [sys.executable, str(DOOR), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",), ("help",)])
def test_help_needs_no_environment(arguments: tuple[str, ...]) -> None:
    done = call(*arguments)
    assert done.returncode == 0
    assert all(name in done.stdout for name in cli.commands)


def test_an_unknown_command_needs_no_environment() -> None:
    done = call("fly")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_an_environment_that_cannot_be_made_is_one_line() -> None:
    done = call("status")
    assert done.returncode == 1
    assert "NEUROQ_VENV" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_script_names_every_command() -> None:
    tree = ast.parse(DOOR.read_text())
    names = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        if node.targets[0].id == "COMMANDS"
    )
    assert set(names) == set(cli.commands)


def test_the_script_parses_on_old_pythons() -> None:
    tree = ast.parse(DOOR.read_text(), feature_version=(3, 4))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    assert os.access(DOOR, os.X_OK)


class Place:
    """A project root with requirement files, an environment folder, and a pip that only counts."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.venv = folder / "root", folder / "venv"
        self.calls: list[list[str]] = []
        self.is_failing = False
        (self.root / "requirements").mkdir(parents=True)
        for name in ("serve", "train", "dev", "runpod", "java"):
            (self.root / "requirements" / f"{name}.txt").write_text(name)
        monkeypatch.setattr(installation, "_pip_install", self.pip)
        monkeypatch.setattr(installation, "find_system_java", lambda environment: Path("/java"))
        monkeypatch.setattr(venv.EnvBuilder, "create", self.create)

    def create(self, location: Path) -> None:
        (location / "bin").mkdir(exist_ok=True)
        (location / "pyvenv.cfg").touch()
        (location / "bin" / "python").touch(mode=0o755)

    def pip(self, location: Path, files: list[Path], lock: int) -> None:
        self.calls.append([path.name for path in files])
        if self.is_failing:
            raise InstallationError("pip failed")

    def prepare(self, command: str = "serve") -> list[list[str]]:
        self.calls = []
        prepare(self.root, self.venv, command)
        return self.calls


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, monkeypatch)


def test_the_first_call_installs_and_the_second_does_not(place: Place) -> None:
    assert place.prepare() == [["serve.txt"]]
    assert place.prepare() == []
    for_tests = ["dev.txt", "runpod.txt"] if sys.version_info >= (3, 11) else ["dev.txt"]
    assert place.prepare("test") == [for_tests]
    assert place.prepare() == []
    assert place.prepare("test") == []


def test_what_is_needed_depends_on_the_folder_and_the_machine(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place.root / "train").mkdir()
    monkeypatch.setattr(installation, "find_system_java", lambda environment: None)
    assert place.prepare() == [["serve.txt", "train.txt", "java.txt"]]


def test_a_changed_lock_is_installed_again(place: Place) -> None:
    place.prepare()
    (place.root / "requirements" / "serve.txt").write_text("newer")
    assert place.prepare() == [["serve.txt"]]


def test_an_interrupted_installation_begins_anew(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(location: Path, files: list[Path], lock: int) -> None:
        (location / "half").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(installation, "_pip_install", interrupted)
    with pytest.raises(KeyboardInterrupt):
        place.prepare()
    monkeypatch.setattr(installation, "_pip_install", place.pip)
    assert place.prepare() == [["serve.txt"]]
    assert not (place.venv / "half").exists()


def test_a_failed_addition_leaves_what_worked(place: Place) -> None:
    place.prepare()
    place.is_failing = True
    with pytest.raises(InstallationError):
        place.prepare("test")
    assert place.prepare() == []


def test_a_moved_environment_is_made_anew(place: Place) -> None:
    place.prepare()
    place.venv = place.venv.rename(place.venv.with_name("moved"))
    assert place.prepare() == [["serve.txt"]]
    assert read_stamp(place.venv).location == str(place.venv)


def test_a_users_own_environment_is_only_added_to(place: Place) -> None:
    place.venv.mkdir()
    place.create(place.venv)
    (place.venv / "mine").touch()
    place.is_failing = True
    with pytest.raises(InstallationError):
        place.prepare()
    place.is_failing = False
    assert place.prepare() == [["serve.txt"]]
    assert (place.venv / "mine").exists()


def test_a_folder_of_something_else_is_left_alone(place: Place) -> None:
    place.venv.mkdir()
    (place.venv / "letters").touch()
    with pytest.raises(InstallationError, match="neither empty nor"):
        place.prepare()
    assert [path.name for path in place.venv.iterdir()] == ["letters"]


def test_a_broken_stamp_is_no_stamp(place: Place) -> None:
    place.prepare()
    (place.venv / installation.STAMP_NAME).write_text(json.dumps({"unknown": 1}))
    assert place.prepare() == [["serve.txt"]]


def test_a_missing_ensurepip_names_the_package(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InstallationError, match=r"apt install python3\.\d+-venv"):
        place.prepare()
