"""The front door on a machine with git and Python alone, and what its model says.

One real run of ./neuroq serve in a clean clone: its own environment, an empty home, no Java on the PATH.
The tests after it use that server and its archive.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.chat.__main__ import ask_all, page
from benchmarks.faq.__main__ import FOLDER as FAQ_FOLDER
from benchmarks.precision import NUM_PROMPTS, compare_greedy_texts, prompts_of
from client.api import NeuroQClient
from model.checkpoint import Checkpoint
from model.precision import BFLOAT16, INT8, MAX_LOSS, loss
from server.ports import free_ports
from tests.conftest import ROOT
from tests.e2e.conftest import PORTS
from train.corpus import BUILT_IN, read_documents, split
from train.encoded import encode
from train.precision import bits_per_char_by_precision

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]
LEAST_RIGHT = 0.3
_EXCHANGE = re.compile(r"あなた> (?P<prompt>.+)\n\s*NeuroQ> (?P<reply>.+)\n")


class Clone:
    """A copy of the project on a machine with nothing but git and Python."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "neuroq"
        programs = folder / "bin"
        programs.mkdir(parents=True)
        (folder / "home").mkdir()
        for name in ("git", "bash", "sh", "env"):
            found = shutil.which(name)
            if found:
                (programs / name).symlink_to(found)
        (programs / "python3").symlink_to(Path(sys.base_prefix) / "bin" / "python3")
        kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        self.environment = {
            **kept,
            "PATH": str(programs),
            "HOME": str(folder / "home"),
            "LANG": "C.UTF-8",
            **dict(zip((f"NEUROQ_{p}" for p in PORTS), map(str, free_ports(5)), strict=True)),
        }

    def clone(self) -> None:
        if (ROOT / ".git").exists():
            subprocess.run(["git", "clone", "-q", str(ROOT), str(self.root)], check=True)
        else:
            left_out = shutil.ignore_patterns(".venv*", "run", "checkpoints", "*.mar", "__pycache__")
            shutil.copytree(ROOT, self.root, ignore=left_out)

    def neuroq(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(self.root / "neuroq"), *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def status(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.neuroq("status", "--json").stdout)
        return found

    def served(self) -> dict[str, object]:
        """What the served model says of itself."""
        status = self.status()
        addresses, token = status["addresses"], status["token"]
        assert isinstance(addresses, dict)
        with NeuroQClient(addresses["inference"], str(token)) as connected:
            return connected.status()


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Clone, str]]:
    """A clone whose ./neuroq serve has run, and what it printed."""
    place = Clone(tmp_path_factory.mktemp("quickstart"))
    place.clone()
    try:
        done = place.neuroq("serve")
        yield place, done.stdout + done.stderr
    finally:
        place.neuroq("stop")


@pytest.fixture
def client(clone: tuple[Clone, str]) -> Iterator[NeuroQClient]:
    status = clone[0].status()
    addresses, token = status["addresses"], status["token"]
    assert isinstance(addresses, dict)
    with NeuroQClient(addresses["inference"], str(token)) as connected:
        yield connected


def test_it_ends_with_a_japanese_exchange_and_the_next_command(clone: tuple[Clone, str]) -> None:
    printed = clone[1]
    exchange = _EXCHANGE.search(printed)
    assert exchange, printed
    assert re.search(r"[\u3040-\u30ff]", exchange["reply"]), printed
    assert "curl" in printed
    assert str(clone[0].status()["token"]) in printed


def test_nothing_is_trained_unless_asked_for(clone: tuple[Clone, str]) -> None:
    assert "Serving the model that NeuroQ ships (pretrained/neuroq.pt)." in clone[1]
    assert not (clone[0].root / "checkpoints").exists()
    digest = hashlib.sha256((clone[0].root / "pretrained" / "neuroq.pt").read_bytes()).hexdigest()
    assert clone[0].served()["checkpoint_sha256"] == digest


def test_the_printed_curl_line_works(clone: tuple[Clone, str]) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl on this machine")
    line = next(line for line in clone[1].splitlines() if line.startswith("curl"))
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["status"] == "success"


def test_a_second_serve_starts_again(clone: tuple[Clone, str]) -> None:
    clone[0].neuroq("stop")
    clone[0].neuroq("serve")
    assert clone[0].status()["ready"] is True


def test_most_replies_are_those_that_were_judged_right(client: NeuroQClient) -> None:
    """Without bfloat16 or a compiler a few replies may be worded otherwise: these count as wrong here."""
    exchanges = ask_all(client)
    print("\n".join(page(exchanges)))
    right = sum(bool(each.verdict.is_right) for each in exchanges)
    assert right >= LEAST_RIGHT * len(exchanges)
    assert not [each for each in exchanges if "\ufffd" in each.replies[-1] or not each.replies[-1].strip()]


def test_a_faq_is_learned_by_one_command(clone: tuple[Clone, str], tmp_path: Path) -> None:
    """The README's: from the shipped model, by itself, exact, and with what it knew before."""
    place = clone[0]
    shutil.copy(FAQ_FOLDER / "library.csv", tmp_path / "faq.csv")
    path = tmp_path / "mine.pt"
    trained = place.neuroq("train", str(tmp_path / "faq.csv"), "--checkpoint_path", str(path))
    assert "starting from the model that NeuroQ ships" in trained.stderr
    assert "read 60 dialogues" in trained.stderr
    judged = place.neuroq("evaluate", "--answers", str(tmp_path / "faq.csv"), "--checkpoint_path", str(path))
    answers = json.loads(judged.stdout)["answers"]
    assert answers["known"] == 60
    assert answers["exact"] >= 57, judged.stderr
    assert answers["broken"] == 0
    assert answers["refused"] <= 3


def test_the_native_path_writes_what_the_reference_writes(clone: tuple[Clone, str]) -> None:
    """On the shipped model: greedy texts in float32, and what reduced precision loses on held-out text."""
    checkpoint = Checkpoint.load(clone[0].root / "pretrained" / "neuroq.pt")
    network, tokenizer = checkpoint.build().freeze(), checkpoint.open_tokenizer()
    train, held_out = split(read_documents([str(BUILT_IN)]), 0.02)
    scores = bits_per_char_by_precision(network, encode(held_out, tokenizer))
    if not scores:
        pytest.skip("this machine has no C++ compiler")
    assert all(loss(precision, scores) <= MAX_LOSS for precision in (BFLOAT16, INT8)), scores  # type: ignore[operator]
    prompts = prompts_of(train, tokenizer)
    same, ties = compare_greedy_texts(network, prompts)
    assert same + ties == len(prompts) == NUM_PROMPTS
    assert ties <= 2


def test_the_command_line_talks(clone: tuple[Clone, str]) -> None:
    place = clone[0]
    assert place.neuroq("generate", "こんにちは", "--seed", "1").stdout.strip()
    twice = [place.neuroq("generate", "こんにちは", "--seed", "1", "--json").stdout for _ in range(2)]
    texts = [json.loads(text)["generated"] for text in twice]
    assert texts[0] == texts[1]
    evaluated = json.loads(
        place.neuroq("evaluate", "corpus/varied/greetings.jsonl", "--checkpoint_path", "builtin").stdout
    )
    assert 0 < evaluated["bits_per_char"] < 5


def test_serving_needs_nothing_of_training(clone: tuple[Clone, str], tmp_path: Path) -> None:
    """train/ and corpus/ deleted, an environment without training's packages: the archive is served."""
    place = Clone(tmp_path)
    place.clone()
    shutil.rmtree(place.root / "train")
    shutil.rmtree(place.root / "corpus")
    shutil.rmtree(place.root / "pretrained")
    shutil.copy(clone[0].root / "model_store" / "neuroq.mar", place.root / "model_store")
    try:
        place.neuroq("serve")
        python = place.root / ".venv" / "bin" / "python"
        missing = subprocess.run([str(python), "-c", "import rich"], check=False, capture_output=True)
        assert missing.returncode == 1  # training's progress bar
        status = place.status()
        assert status["ready"] is True
        addresses = status["addresses"]
        assert isinstance(addresses, dict)
        with NeuroQClient(addresses["inference"], str(status["token"])) as connected:
            assert connected.health()["status"] == "healthy"
            assert connected.status()["initialized"] is True
            first = connected.generate("こんにちは", session_id="a", seed=1)
            second = connected.generate("元気？", session_id="a", seed=1)
            assert second["usage"]["prompt_tokens"] > first["usage"]["prompt_tokens"]
            connected.clear_session("a")
            again = connected.generate("こんにちは", session_id="a", seed=1)
            assert again["generated"] == first["generated"]
            assert again["usage"]["prompt_tokens"] == first["usage"]["prompt_tokens"]
        refused = place.neuroq("train", check=False)
        assert refused.returncode == 1
        assert "no folder train/" in refused.stderr
    finally:
        place.neuroq("stop")
