"""`train` as an action, on a real server: off, on, killed, released, refused, stopped.

The tests of this file are one story: each goes on with the server as the one before has left it.
"""

from __future__ import annotations

import json
import os
import signal
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from server import jobs
from server.jobs import Job, read_job
from tests.e2e.conftest import Server
from train.arguments import TrainingArguments
from train.corpus import BUILT_IN, read_documents
from train.run import start

pytestmark = pytest.mark.e2e
NOTHING = 1e-8  # a learning rate that teaches nothing
LITTLE, ENOUGH, ENDLESS = {"epochs": 1, "lr": NOTHING}, {"epochs": 3, "lr": 0.01}, {"epochs": 100_000}


@pytest.fixture(scope="module")
def texts() -> list[str]:
    documents = read_documents([str(BUILT_IN / "varied" / "greetings.jsonl")])
    return [line for document in documents for line in document.lines][:150]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose model has learned nothing, not started yet."""
    folder = tmp_path_factory.mktemp("training")
    text = folder / "dialogues.jsonl"
    text.write_text(
        "".join((BUILT_IN / "varied" / "greetings.jsonl").read_text().splitlines(keepends=True)[:40])
    )
    torch.set_num_threads(1)
    arguments = TrainingArguments(
        texts=(str(text),),
        checkpoint_path=str(folder / "neuroq_checkpoint.pt"),
        epochs=1,
        lr=NOTHING,
        matrix_lr=NOTHING,
        validation_fraction=0.5,
        processes=1,
    )
    start(arguments, None, print, with_report=False)
    server = Server(folder, "continuous")
    try:
        yield server
    finally:
        server.stop()


def archived(server: Server, name: str) -> list[str]:
    with zipfile.ZipFile(server.folder / "model_store" / name) as archive:
        return archive.namelist()


def versions(server: Server) -> tuple[str, list[str]]:
    status = json.loads(server.command("client", "status", "--json").stdout)
    return status["version"], status["versions"]


def train(server: Server, **parameters: Any) -> Path:
    reply = server.post({"input": {"action": "train", **parameters}})
    assert reply.status_code == 202, reply.text
    return server.folder / "run" / "jobs" / reply.json()["job_id"]


def told(server: Server) -> dict[str, Any]:
    job: dict[str, Any] = server.post({"action": "status"}).json()["training_job"]
    return job


def wait_until(server: Server, folder: Path, is_true: Callable[[Job], bool]) -> Job:
    deadline = time.monotonic() + 400
    while (job := read_job(folder)) is None or not is_true(job):
        assert job is None or job.is_active, (job, (folder / "log.txt").read_text())
        assert time.monotonic() < deadline, (job, (folder / "log.txt").read_text())
        time.sleep(0.1)
    return job


def kill(folder: Path) -> None:
    job = read_job(folder)
    assert job is not None
    assert job.pid is not None
    os.killpg(job.pid, signal.SIGKILL)


def test_without_the_operators_leave_nothing_trains(server: Server) -> None:
    server.start()
    refused = server.post({"action": "train", "epochs": 2, "checkpoint_path": "/workspace/x.pt"})
    assert (refused.status_code, refused.json()["code"]) == (403, "train_disabled")
    assert "./neuroq train" in refused.json()["command"]
    assert told(server) is None
    assert not [name for name in archived(server, "neuroq.mar") if name.split("/")[0] == "train"]
    server.stop()


def test_with_it_one_job_runs_and_status_shows_it(server: Server, texts: list[str]) -> None:
    server.environment["NEUROQ_TRAINING"] = "true"
    server.start()
    refused = server.post({"action": "train", "checkpoint_path": "/workspace/x.pt"})
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_request")
    folder = train(server, texts=texts, **ENDLESS)
    busy = server.post({"action": "train"})
    assert (busy.status_code, busy.json()["code"]) == (409, "train_busy")
    wait_until(server, folder, lambda job: job.progress > 0)
    job = told(server)
    assert (job["id"], job["state"], job["error"]) == ("1", "running", None)
    assert job["epoch"] >= 1
    assert 0 < job["progress"] < 1
    assert job["loss"] > 0
    assert server.generate("こんにちは", session_id="beside")["model_version"] == "1.0"


def test_killing_its_group_leaves_nothing(server: Server) -> None:
    (folder,) = jobs.job_folders(server.folder / "run")
    kill(folder)
    deadline = time.monotonic() + 60
    while sorted(path.name for path in folder.iterdir()) != ["job.json", "log.txt"]:
        job = told(server)  # who looks, cleans up
        assert (job["state"], job["error"]) in [("running", None), ("failed", "the job was killed")]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert jobs.job_processes(folder) == []
    assert versions(server) == ("1.0", ["1.0"])


def test_killed_in_its_release_it_leaves_nothing_and_the_next_one_is_released(
    server: Server, texts: list[str]
) -> None:
    folder = train(server, texts=texts, **ENOUGH)
    wait_until(server, folder, lambda job: "runs beside" in (folder / "log.txt").read_text())
    kill(folder)
    assert server.generate("こんにちは", session_id="beside")["model_version"] == "1.0"
    assert versions(server) == ("1.0", ["1.0"])  # asking for the status took the canary away
    assert [path.name for path in (server.folder / "model_store").iterdir()] == ["neuroq.mar"]
    assert told(server)["error"] == "the job was killed"

    folder = train(server, texts=texts, **ENOUGH)
    job = wait_until(server, folder, lambda job: job.state == "succeeded")
    assert (job.version, job.progress, job.checkpoint) == (
        "2.0",
        1.0,
        f"jobs/{folder.name}/neuroq_checkpoint.pt",
    )
    assert server.generate("こんにちは", session_id="after")["model_version"] == "2.0"
    assert versions(server) == ("2.0", ["1.0", "2.0"])
    assert told(server)["state"] == "succeeded"
    assert not [name for name in archived(server, "neuroq-2.0.mar") if name.split("/")[0] == "train"]


def test_a_worse_model_is_refused(server: Server, texts: list[str]) -> None:
    folder = train(server, texts=texts, **LITTLE)
    job = wait_until(server, folder, lambda job: job.state == "refused")
    assert job.error is not None
    assert "quality" in job.error
    assert server.generate("こんにちは", session_id="refused")["model_version"] == "2.0"
    assert versions(server) == ("2.0", ["1.0", "2.0"])


def test_stopping_the_server_ends_its_job(server: Server, texts: list[str]) -> None:
    folder = train(server, texts=texts, **ENDLESS)
    server.command("client", "stop")
    assert jobs.job_processes(folder) == []
    job = read_job(folder)
    assert job is not None
    assert job.state == "failed"
    assert not (server.folder / "run" / "server.json").exists()
