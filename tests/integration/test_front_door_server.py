"""The commands of ./neuroq against a stand-in for TorchServe: no Java, no model, real processes."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from server.ports import free_ports

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]
FAKE = Path(__file__).with_name("fake_torchserve.py")
PORTS = ("PORT", "MANAGEMENT_PORT", "METRICS_PORT", "GRPC_PORT", "GRPC_MANAGEMENT_PORT")
TRAIN = """
import pathlib, sys
path = pathlib.Path(sys.argv[sys.argv.index("--checkpoint_path") + 1])
path.touch()
path.with_suffix(".state.pt").unlink()
print("trained")
"""
PACKAGE = """
import json, sys, zipfile
store = sys.argv[sys.argv.index("--model_store") + 1]
with zipfile.ZipFile(store + "/neuroq.mar", "w") as archive:
    archive.writestr("MAR-INF/MANIFEST.json", json.dumps({"arguments": sys.argv[1:]}))
"""


class Place:
    """A copy of the front door without train/, its settings in the environment, and a fake java."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        for name in ("client", "server", "storage"):
            shutil.copytree(ROOT / name, self.root / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "config.properties", self.root)
        self.environment = {**os.environ, "JAVA_HOME": str(fake_java(folder)), "TMPDIR": str(folder)}
        self.environment |= {
            f"NEUROQ_{name}": str(port) for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True)
        }
        self.archive = self.root / "model_store" / "neuroq.mar"
        self.run_dir = self.root / "run"

    def add_archive(self) -> None:
        self.archive.parent.mkdir()
        with zipfile.ZipFile(self.archive, "w") as archive:
            archive.writestr("MAR-INF/MANIFEST.json", "{}")

    def add_releases(self, current: str, previous: str) -> Path:
        """Archives of two versions, and the file that says which is served."""
        self.archive.parent.mkdir()
        releases = {"current": current, "previous": previous}
        for version in releases.values():
            with zipfile.ZipFile(self.archive.with_name(f"neuroq-{version}.mar"), "w") as archive:
                archive.writestr("MAR-INF/MANIFEST.json", "{}")
                archive.writestr("package.json", json.dumps({"checkpoint_sha256": version}))
        record = {name: {"version": v, "archive": f"neuroq-{v}.mar"} for name, v in releases.items()}
        path = self.archive.with_name("releases.json")
        path.write_text(json.dumps(record))
        return path

    def neuroq(self, *arguments: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "client", *arguments],
            cwd=self.root,
            env={**self.environment, **variables},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    @property
    def pid(self) -> int:
        return int(json.loads((self.run_dir / "server.json").read_text())["pid"])


def fake_java(folder: Path) -> Path:
    java = folder / "java" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE}" "$@"\n')
    java.chmod(0o755)
    (folder / "java" / "release").write_text('JAVA_VERSION="17.0.1"')
    return folder / "java"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    found = Place(tmp_path)
    yield found
    found.neuroq("stop")


@pytest.fixture
def served(place: Place) -> Place:
    place.add_archive()
    done = place.neuroq("serve")
    assert done.returncode == 0, done.stderr
    return place


def test_serve_shows_an_exchange_and_a_curl_line_that_works(place: Place) -> None:
    place.add_archive()
    done = place.neuroq("serve")
    assert done.returncode == 0, done.stderr
    assert "NeuroQ> オウム: こんにちは" in done.stdout
    curl = next(line for line in done.stdout.splitlines() if line.startswith("curl"))
    words = shlex.split(curl)  # the machine may have no curl
    headers = dict(words[i + 1].split(": ") for i, word in enumerate(words) if word == "-H")
    body = words[words.index("-d") + 1].encode()
    reply = httpx.post(words[4], headers=headers, content=body, trust_env=False)
    assert reply.json()["generated"] == "オウム: こんにちは"


def test_a_second_serve_says_so(served: Place) -> None:
    pid = served.pid
    done = served.neuroq("serve")
    assert done.returncode == 0
    assert "Already running" in done.stdout
    assert "curl" in done.stdout
    assert served.pid == pid


def test_status_tells_programs_all_but_the_api_key(served: Place) -> None:
    done = served.neuroq("status", "--json")
    record = json.loads(done.stdout)
    assert done.returncode == 0
    assert (record["running"], record["ready"], record["pid"]) == (True, True, served.pid)
    assert (record["model"], record["version"], record["versions"]) == ("neuroq", "1.0", ["1.0"])
    assert (record["token"], record["management_token"]) == ("infer-1", "manage-1")
    assert set(record["addresses"]) == {
        "inference",
        "management",
        "metrics",
        "grpc_inference",
        "grpc_management",
    }
    assert "api" not in json.dumps([record[key] for key in record if key != "addresses"]).lower().split('"')


def test_stop_leaves_nothing_and_may_be_repeated(served: Place) -> None:
    process, state = psutil.Process(served.pid), json.loads((served.run_dir / "server.json").read_text())
    assert served.neuroq("stop").stdout == "Stopped.\n"
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    assert not Path(state["temp_dir"]).exists()
    assert not (served.run_dir / "server.json").exists()
    assert not (served.run_dir / "key_file.json").exists()
    again = served.neuroq("stop")
    assert (again.returncode, again.stdout) == (0, "Not running.\n")
    assert served.neuroq("status").returncode == 3


def test_a_killed_server_is_recognised_and_replaced(served: Place) -> None:
    state = json.loads((served.run_dir / "server.json").read_text())
    os.kill(state["pid"], signal.SIGKILL)
    time.sleep(0.2)
    assert served.neuroq("status").returncode == 3
    assert served.neuroq("serve").returncode == 0
    assert not Path(state["temp_dir"]).exists()


def test_generate_prints_the_text_or_the_whole_reply(served: Place) -> None:
    assert served.neuroq("generate", "猫").stdout == "オウム: 猫\n"
    done = served.neuroq("generate", "猫", "--max-length", "5", "--seed", "0", "--stop", "a", "--json")
    request = json.loads(done.stdout)["request"]
    assert request.pop("session_id").startswith("cli-")
    assert request == {"action": "generate", "prompt": "猫", "max_length": 5, "seed": 0, "stop": ["a"]}


def test_a_refusal_is_one_line(served: Place) -> None:
    done = served.neuroq("generate", "bad")
    assert (done.returncode, done.stderr) == (1, "neuroq: prompt is bad (invalid_request)\n")


def test_chat_reads_a_pipe(served: Place) -> None:
    done = served.neuroq("chat", stdin="おはよう\n/clear\nbad\nまた\n/quit\nもう\n")
    assert done.stdout == "NeuroQ> オウム: おはよう\n(forgotten)\nNeuroQ> オウム: また\n"
    assert done.stderr == "neuroq: prompt is bad (invalid_request)\n"
    assert done.returncode == 0


def test_chat_tells_when_a_reply_breaks_off_and_goes_on(served: Place) -> None:
    done = served.neuroq("chat", stdin="broken\nまた\n")
    assert done.stdout == "NeuroQ> オウム: broken\nNeuroQ> オウム: また\n"
    assert done.stderr == "neuroq: the server broke off in the middle of the reply (interrupted)\n"
    assert done.returncode == 0


@pytest.mark.parametrize("command", [("generate", "x"), ("chat",), ("release",)])
def test_without_a_server_one_line_says_what_to_do(place: Place, command: tuple[str, ...]) -> None:
    (place.root / "train").mkdir()
    done = place.neuroq(*command)
    assert done.returncode == 3
    assert "./neuroq serve" in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_ending_token_is_renewed(place: Place) -> None:
    place.add_archive()
    assert place.neuroq("serve", FAKE_MODE="short").returncode == 0
    first, second = (json.loads(place.neuroq("status", "--json").stdout)["token"] for _ in range(2))
    assert first != second
    assert place.neuroq("generate", "x").returncode == 0


@pytest.mark.parametrize(("mode", "words"), [("dies", "does not want to"), ("loops", "wrong tokenizer")])
def test_a_server_that_cannot_start_is_given_up_at_once(place: Place, mode: str, words: str) -> None:
    place.add_archive()
    begin = time.monotonic()
    done = place.neuroq("serve", FAKE_MODE=mode)
    assert time.monotonic() - begin < 20
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (place.run_dir / "server.json").exists()


def test_a_taken_port_is_named_before_anything_is_done(place: Place) -> None:
    place.add_archive()
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(place.environment["NEUROQ_GRPC_PORT"])))
        other.listen()
        done = place.neuroq("serve")
    assert done.returncode == 1
    assert "--grpc-port" in done.stderr
    assert not (place.run_dir / "server.json").exists()


def test_nothing_to_serve_is_one_line(place: Place) -> None:
    done = place.neuroq("serve")
    assert done.returncode == 1
    assert "nothing to serve" in done.stderr
    assert place.neuroq("train").returncode == 1


def test_serve_packages_the_shipped_model_and_trains_nothing(place: Place) -> None:
    (place.root / "train").mkdir()
    (place.root / "train" / "__main__.py").write_text("raise SystemExit(7)")
    (place.root / "train" / "package.py").write_text(PACKAGE)
    done = place.neuroq("serve", "--version", "2.0", "--profile", "workers")
    assert done.returncode == 0, done.stderr
    assert "Serving the model that NeuroQ ships" in done.stdout
    with zipfile.ZipFile(place.archive) as archive:
        arguments = json.loads(archive.read("MAR-INF/MANIFEST.json"))["arguments"]
    assert arguments[:2] == ["--checkpoint_path", str(place.root / "pretrained" / "neuroq.pt")]
    assert arguments[4:] == ["--profile", "workers", "--version", "2.0", "--if-changed"]


def test_serve_finishes_an_interrupted_training_once(place: Place) -> None:
    (place.root / "train").mkdir()
    (place.root / "train" / "__main__.py").write_text(TRAIN)
    (place.root / "train" / "package.py").write_text(PACKAGE)
    interrupted(place)
    done = place.neuroq("serve")
    assert done.returncode == 0, done.stderr
    assert "trained" in done.stdout
    place.neuroq("stop")
    assert "trained" not in place.neuroq("serve").stdout


def interrupted(place: Place) -> None:
    """Leave the state of a training at the default path."""
    (place.root / "checkpoints").mkdir()
    (place.root / "checkpoints" / "neuroq_checkpoint.state.pt").touch()


def test_a_release_is_served_whatever_the_checkpoint_has_become(place: Place) -> None:
    place.add_releases("1.0", "0.9")
    (place.root / "train").mkdir()  # which can neither train nor package
    checkpoint = place.root / "checkpoints" / "neuroq_checkpoint.pt"
    checkpoint.parent.mkdir()
    checkpoint.touch()
    done = place.neuroq("serve")
    assert done.returncode == 0, done.stderr
    line = f"Serving release 1.0 (neuroq-1.0.mar). {checkpoint} holds another model: ./neuroq release"
    assert done.stdout.startswith(line)
    config = (place.run_dir / "config.properties").read_text()
    assert "load_models=neuroq-1.0.mar,neuroq-0.9.mar\n" in config


def test_a_release_that_does_not_load_is_not_replaced_in_silence(place: Place) -> None:
    place.add_releases("2.0", "1.0")  # the stand-in always serves 1.0
    done = place.neuroq("serve")
    assert done.returncode == 1
    assert "cannot load release 2.0" in done.stderr
    assert place.neuroq("status").returncode == 3


def test_rollback_without_a_server_is_for_the_next_start(place: Place) -> None:
    path = place.add_releases("2.0", "1.0")
    done = place.neuroq("rollback")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Version 1.0 is what the next ./neuroq serve starts with.\n"
    assert json.loads(path.read_text())["previous"]["version"] == "2.0"
    assert place.neuroq("serve").returncode == 0
    place.archive.with_name("neuroq-2.0.mar").unlink()
    gone = place.neuroq("rollback")
    assert (gone.returncode, gone.stderr.count("\n")) == (1, 1)
    assert "neuroq-2.0.mar" in gone.stderr


def test_rollback_without_a_release_is_one_line(place: Place) -> None:
    done = place.neuroq("rollback")
    assert done.returncode == 1
    assert done.stderr == "neuroq: there was no release, so there is no version to go back to\n"


def test_a_failed_training_ends_serve(place: Place) -> None:
    (place.root / "train").mkdir()
    (place.root / "train" / "__main__.py").write_text("raise SystemExit(7)")
    interrupted(place)
    done = place.neuroq("serve")
    assert done.returncode == 1
    assert "exit code 7" in done.stderr


def test_arguments_and_help_reach_the_module(place: Place) -> None:
    (place.root / "train").mkdir()
    (place.root / "train" / "evaluate.py").write_text("import sys; print(sys.argv[1:])")
    arguments = ["--help", "--port", "x", "-q", "a b"]
    assert place.neuroq("evaluate", *arguments).stdout == f"{arguments}\n"


@pytest.mark.parametrize("arguments", [("fly",), ("serve", "--port", "x"), ("generate",), ("status", "--x")])
def test_wrong_usage_is_one_line_and_code_2(place: Place, arguments: tuple[str, ...]) -> None:
    done = place.neuroq(*arguments)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_two_instances_live_side_by_side(served: Place) -> None:
    other = {f"NEUROQ_{name}": str(port) for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True)}
    other["NEUROQ_RUN_DIR"] = str(served.root / "日本 語")
    assert served.neuroq("serve", **other).returncode == 0
    assert served.neuroq("generate", "二", **other).stdout == "オウム: 二\n"
    assert served.neuroq("stop", **other).stdout == "Stopped.\n"
    assert served.neuroq("status").returncode == 0


NOT_TEXT = "ab\udcff"  # the byte 0xff, as Python hands it on


@pytest.mark.parametrize(
    "arguments",
    [["generate", NOT_TEXT], ["generate", "x", "--stop", NOT_TEXT], ["chat", "--session-id", NOT_TEXT]],
)
def test_an_argument_that_is_no_text_is_refused_in_one_line(served: Place, arguments: list[str]) -> None:
    done = served.neuroq(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "b'ab\\xff' is not UTF-8" in line


def test_input_that_is_no_text_is_refused_in_one_line(served: Place) -> None:
    for command, message in (
        (["generate", "-"], "standard input is not UTF-8"),
        (["chat"], "line 2 of standard input is not UTF-8"),
    ):
        done = piped(served, command, "はい\n".encode() + b"ab\xff\n")
        assert done.returncode == 2
        assert done.stderr.decode().splitlines() == [f"neuroq: {message}"]


@pytest.mark.parametrize(
    "variables",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "LANG": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"LC_ALL": "POSIX"},
    ],
)
def test_a_terminal_without_japanese_gets_it_escaped(served: Place, variables: dict[str, str]) -> None:
    spoken = "\\u30aa\\u30a6\\u30e0: hello \\U0001f600"
    for command, text in (
        (["generate", "hello 😀"], ""),
        (["generate", "-"], "hello 😀\n"),
        (["chat"], "hello 😀\n"),
    ):
        done = piped(served, command, text.encode(), **variables)
        assert (done.returncode, done.stderr) == (0, b"")
        shown = done.stdout.decode()
        assert spoken in shown or "オウム: hello 😀" in shown
    done = piped(served, ["generate", "--json", "hello 😀"], b"", **variables)
    assert json.loads(done.stdout)["generated"] == "オウム: hello 😀"


def test_the_prompt_is_read_from_standard_input(served: Place) -> None:
    done = served.neuroq("generate", "-", stdin="こんにちは\nお元気ですか\n")
    assert (done.returncode, done.stdout) == (0, "オウム: こんにちは\nお元気ですか\n")


def piped(
    served: Place, command: list[str], stdin: bytes, **variables: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "client", *command],
        cwd=served.root,
        env={**served.environment, **variables},
        input=stdin,
        capture_output=True,
        check=False,
    )
