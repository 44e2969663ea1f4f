"""A training job as a `train` request starts it, without a server: its end, its bounds, and what is left."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from handler.jobs import Jobs
from handler.schema import TrainRequest
from handler.settings import TrainingSettings
from server import jobs
from server.jobs import Job, read_job
from tests.conftest import ROOT

pytestmark = pytest.mark.integration
TEXTS = [f"{number}番目の文です。今日は良い天気ですね。" for number in range(40)]
FOREVER = {"texts": TEXTS, "epochs": 100_000}


class Place:
    """A run folder, and a launcher of real jobs."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir

    def start(self, *bounds: str, **fields: Any) -> Path:
        command = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "client.job"]
        command += ["--run-dir", str(self.run_dir), *bounds]
        path = jobs.jobs_path(self.run_dir)
        launcher = Jobs(TrainingSettings(True, shlex.join(command), str(path)))
        return path / launcher.start(TrainRequest(action="train", **fields))


def wait_for(folder: Path, is_true: Callable[[Job], bool]) -> Job:
    deadline = time.monotonic() + 240
    while (job := read_job(folder)) is None or not is_true(job):
        assert time.monotonic() < deadline, (job, (folder / "log.txt").read_text())
        time.sleep(0.1)
    return job


def is_over(job: Job) -> bool:
    return not job.is_active


def is_training(job: Job) -> bool:
    return job.progress > 0


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    yield Place(tmp_path)
    for folder in jobs.job_folders(tmp_path):
        jobs.kill_processes(folder)


def test_what_was_trained_is_kept_when_there_is_no_server_to_release_it_on(place: Place) -> None:
    folder = place.start(texts=TEXTS, epochs=2, checkpoint_path="mine.pt")
    job = wait_for(folder, is_over)
    assert job.state == "failed"
    assert job.error is not None
    assert job.error.startswith("no server runs from")
    assert (job.progress, job.epoch, job.checkpoint) == (1.0, 2, "jobs/1/mine.pt")
    assert {"mine.pt", "texts.jsonl", "log.txt"} < set(left(folder))
    assert not {"tmp", "progress.json", "mine.state.pt"} & set(left(folder))
    assert job.started is not None
    assert job.ended is not None
    assert job.started <= job.ended


def test_a_job_gives_way_and_killing_its_group_leaves_nothing(place: Place) -> None:
    folder = place.start(**FOREVER)
    job = wait_for(folder, is_training)
    assert job.pid is not None
    assert job.loss is not None
    processes = jobs.job_processes(folder)
    assert len(processes) >= 3  # itself and the training's two
    for process in processes:
        assert os.getpgid(process.pid) == job.pid
        assert process.nice() == 19
        assert os.sched_getscheduler(process.pid) == os.SCHED_IDLE
        assert process.ionice().ioclass == psutil.IOPRIO_CLASS_IDLE
    os.killpg(job.pid, signal.SIGKILL)
    psutil.wait_procs(processes, timeout=30)
    again = place.start(texts=TEXTS)  # the lock is free; the new job takes away what the killed one has left
    wait_for(again, is_training)
    assert left(folder) == ["job.json", "log.txt"]
    buried = read_job(folder)
    assert buried is not None
    assert (buried.state, buried.error) == ("failed", "the job was killed")
    assert jobs.job_processes(folder) == []
    assert jobs.stop_job(place.run_dir)
    stopped = read_job(again)
    assert stopped is not None
    assert (stopped.state, stopped.error) == ("failed", "stopped by the operator")
    assert left(again) == ["job.json", "log.txt"]


@pytest.mark.parametrize(
    ("bounds", "fields", "words"),
    [
        (["--memory", "1"], {"seq_length": 4096, "batch_size": 64}, ["the training ended", "memory"]),
        (["--minutes", "0.05"], FOREVER, ["took longer than 0.05 minutes"]),
    ],
)
def test_a_job_beyond_its_bounds_ends_with_one_line(
    place: Place, bounds: list[str], fields: dict[str, Any], words: list[str]
) -> None:
    folder = place.start(*bounds, **fields)
    job = wait_for(folder, is_over)
    assert job.state == "failed"
    assert job.error is not None
    assert "\n" not in job.error
    assert all(word in job.error for word in words), job.error
    assert left(folder) == ["job.json", "log.txt"]
    _, alive = psutil.wait_procs(jobs.job_processes(folder), timeout=30)  # the job itself is about to end
    assert alive == []
