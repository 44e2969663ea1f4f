"""Training jobs: the handler's launcher with real processes, and what the server's side does about them."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from handler.errors import ApiError
from handler.jobs import ACTIVE, JOB_VARIABLE, Jobs
from handler.schema import TrainRequest, parse
from handler.settings import TrainingSettings
from server import jobs
from server.jobs import Job, read_job, write_job
from tests.conftest import ROOT

pytestmark = pytest.mark.unit
SLEEPER = "import sys, time; print('here', flush=True); time.sleep(60)"


class Place:
    """A run folder whose jobs only sleep; a call without a job's folder writes a line."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir, self.path, self.calls = run_dir, jobs.jobs_path(run_dir), run_dir / "calls"
        script = f'[ $# = 0 ] && echo called >> {shlex.quote(str(self.calls))} || exec "{sys.executable}" -c'
        self.command = ["sh", "-c", f'{script} "{SLEEPER}" "$@"', "job"]
        self.jobs = self.launcher()

    def launcher(self) -> Jobs:
        """What another worker has."""
        return Jobs(TrainingSettings(True, shlex.join(self.command), str(self.path)))

    def start(self, **fields: Any) -> Path:
        return self.path / self.jobs.start(TrainRequest(action="train", **fields))

    def process(self, folder: Path) -> psutil.Process:
        wait_for(lambda: "here" in (folder / "log.txt").read_text())
        (process,) = jobs.job_processes(folder)
        return process

    def kill(self, folder: Path) -> None:
        process = self.process(folder)
        os.killpg(process.pid, 9)
        wait_for(lambda: not process.is_running())


def wait_for(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    for folder in jobs.job_folders(tmp_path):
        jobs.kill_processes(folder)


def error(place: Place, **fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        place.start(**fields)
    return caught.value


def test_a_job_runs_in_a_session_of_its_own_and_inherits_the_lock_only(place: Place) -> None:
    folder = place.start()
    process = place.process(folder)
    assert os.getsid(process.pid) == os.getpgid(process.pid) == process.pid != os.getsid(0)
    assert process.environ()[JOB_VARIABLE] == str(folder)
    assert [file.path for file in process.open_files() if not file.path.endswith("log.txt")] == [
        str(place.path / "lock")
    ]
    assert place.jobs.latest() == {"id": "1", "state": "queued", "progress": 0.0}


def test_one_at_a_time_over_all_workers(place: Place) -> None:
    first = place.start()
    refused = error(place)
    assert (refused.status, refused.code) == (409, "train_busy")
    with pytest.raises(ApiError, match="already running"):
        place.launcher().start(TrainRequest(action="train"))
    assert jobs.job_folders(place.run_dir) == [first]


def test_of_many_workers_at_once_one_starts_a_job(place: Place) -> None:
    place.path.mkdir()
    launchers, outcomes = [place.launcher() for _ in range(8)], []
    barrier = threading.Barrier(len(launchers))

    def start(launcher: Jobs) -> None:
        barrier.wait()
        try:
            outcomes.append(launcher.start(TrainRequest(action="train")))
        except ApiError as refused:
            outcomes.append(refused.code)

    threads = [threading.Thread(target=start, args=(launcher,)) for launcher in launchers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["1", *["train_busy"] * 7]


def test_a_killed_job_is_told_cleaned_up_after_once_and_blocks_nobody(place: Place) -> None:
    place.kill(place.start())
    for _ in range(2):
        told = place.jobs.latest()
        assert told is not None
        assert (told["state"], told["error"]) == ("failed", "the job was killed")
    wait_for(place.calls.exists)
    assert place.start().name == "2"
    assert place.calls.read_text() == "called\n"


def test_no_zombie_stays(place: Place) -> None:
    folder = place.start()
    process = place.process(folder)
    process.kill()
    wait_for(lambda: not psutil.pid_exists(process.pid))


def test_the_request_and_the_texts_are_written_as_they_are(place: Place) -> None:
    texts = ["/etc/passwd", "一行\n\n二行 \u2028 \x00", "--texts"]
    folder = place.start(texts=texts, epochs=3, lr=0.5, checkpoint_path="mine.pt")
    documents = [json.loads(line) for line in (folder / "texts.jsonl").read_text().splitlines()[:1]]
    assert documents == [{"text": "/etc/passwd"}]
    lines = (folder / "texts.jsonl").read_text(encoding="utf-8").rstrip("\n").split("\n")
    assert [json.loads(line)["text"] for line in lines] == texts
    assert json.loads((folder / "request.json").read_text()) == {
        "epochs": 3, "batch_size": 16, "lr": 0.5, "seq_length": 48, "checkpoint": "mine.pt"
    }  # fmt: skip


@pytest.mark.parametrize(
    "path",
    ["/etc/x.pt", "../x.pt", "a/b.pt", ".pt", "-x.pt", "x", "x.pt\n", "x\0.pt", "~/x.pt", "あ.pt", "s3:x.pt"],
)
def test_a_client_never_chooses_a_place_on_the_server(place: Place, path: str) -> None:
    refused = error(place, checkpoint_path=path)
    assert (refused.status, refused.param) == (400, "checkpoint_path")
    assert "mine.pt" in refused.message
    assert not place.path.exists()


@pytest.mark.parametrize("path", ["s3://bucket/x.pt", "gs://bucket/x.pt"])
def test_object_stores_are_refused_by_name(place: Place, path: str) -> None:
    assert "object stores" in error(place, checkpoint_path=path).message


@pytest.mark.parametrize("texts", [[], ["a", " \n"]])
def test_a_text_is_not_blank(place: Place, texts: list[str]) -> None:
    refused = error(place, texts=texts)
    assert (refused.status, refused.param) == (400, "texts")


def test_half_a_character_is_no_text() -> None:
    with pytest.raises(ApiError, match="texts"):
        parse(b'{"action": "train", "texts": ["\\ud800"]}')


def test_a_command_that_cannot_be_run_leaves_nothing(place: Place) -> None:
    place.command = ["/nowhere"]
    with pytest.raises(FileNotFoundError):
        place.launcher().start(TrainRequest(action="train"))
    assert jobs.job_folders(place.run_dir) == []
    place.start()  # the lock is free


# --- the server's side -----------------------------------------------------------------------------------


def test_both_sides_agree(place: Place) -> None:
    assert (ACTIVE, JOB_VARIABLE) == (jobs.ACTIVE, jobs.VARIABLE)
    folder = place.start()
    assert read_job(folder) == Job("1", "queued") == jobs.latest_job(place.run_dir)


def test_a_job_that_runs_is_not_buried_and_can_be_stopped(place: Place) -> None:
    folder = place.start()
    process = place.process(folder)
    (folder / "mine.pt").touch()
    jobs.bury_killed_jobs(place.run_dir)
    assert process.is_running()
    assert jobs.stop_job(place.run_dir)
    assert not process.is_running()
    assert sorted(path.name for path in folder.iterdir()) == ["job.json", "log.txt"]
    assert not jobs.stop_job(place.run_dir)


def test_one_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    place = Place(tmp_path)
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPER
    place.command = [sys.executable, "-c", deaf]
    place.jobs = place.launcher()
    process = place.process(place.start())
    assert jobs.stop_job(tmp_path, timeout=0.2)
    assert not process.is_running()


def test_killed_jobs_are_buried_with_what_still_runs_of_them(place: Place) -> None:
    folder = place.start()
    orphan = subprocess.Popen(
        [sys.executable, "-c", SLEEPER],
        env={**os.environ, JOB_VARIABLE: str(folder)},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
    write_job(folder, Job("1", "running", progress=0.5, checkpoint="x"))
    wait_for(lambda: len(jobs.job_processes(folder)) == 2)
    leader = next(p for p in jobs.job_processes(folder) if p.pid != orphan.pid)
    leader.kill()
    wait_for(lambda: not leader.is_running())
    (folder / "tmp").mkdir()
    (folder / "tmp" / "neuroq-2.0.mar").touch()
    (folder / "mine.pt").touch()
    jobs.bury_killed_jobs(place.run_dir)
    orphan.wait(timeout=10)
    assert not psutil.pid_exists(orphan.pid)
    assert sorted(path.name for path in folder.iterdir()) == ["job.json", "log.txt"]
    job = read_job(folder)
    assert job is not None
    assert (job.state, job.error, job.progress, job.checkpoint) == ("failed", "the job was killed", 0.5, None)


def test_a_job_that_was_killed_after_its_promotion_has_succeeded(tmp_path: Path) -> None:
    folder = jobs.jobs_path(tmp_path) / "1"
    (folder / "tmp").mkdir(parents=True)
    (folder / "texts.jsonl").touch()
    write_job(folder, Job("1", "releasing", version="2.0", checkpoint="jobs/1/mine.pt"))
    jobs.bury_killed_jobs(tmp_path)
    job = read_job(folder)
    assert job is not None
    assert (job.state, job.error, job.version, job.checkpoint) == (
        "succeeded", None, "2.0", "jobs/1/mine.pt"
    )  # fmt: skip
    assert sorted(path.name for path in folder.iterdir()) == ["job.json", "texts.jsonl"]


def test_jobs_that_were_not_released_are_dropped_in_the_end(tmp_path: Path) -> None:
    for number in range(1, 15):
        folder = jobs.jobs_path(tmp_path) / str(number)
        folder.mkdir(parents=True)
        write_job(folder, Job(str(number), "failed", version="2.0" if number == 1 else None))
    own = jobs.jobs_path(tmp_path) / "15"
    own.mkdir()
    jobs.bury_all_but(tmp_path, own)
    assert [path.name for path in jobs.job_folders(tmp_path)] == ["1", *map(str, range(5, 16))]


def test_a_job_gives_way_to_everything_else_and_has_bounds() -> None:
    code = (
        "import os, resource, subprocess, sys; from client.job import step_back; step_back(3);"
        "code = 'import os, resource; print(os.nice(0), os.sched_getscheduler(0) == os.SCHED_IDLE, "
        'resource.getrlimit(resource.RLIMIT_DATA)[1] >> 30, open("/proc/self/oom_score_adj").read())\';'
        "print(subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["19", "True", "3", "1000"]


@pytest.mark.parametrize(
    ("minutes", "signals", "reason"),
    [("1e-3", "", "took longer than 0.001 minutes"), ("9", "os.kill(os.getpid(), 15);", "stopped by the")],
)
def test_time_and_operator_break_a_job_off_once(minutes: str, signals: str, reason: str) -> None:
    code = (
        "import os, time\nfrom client.job import *\n"
        f"break_off_on_signals({minutes})\n"
        f"try:\n    {signals} time.sleep(30)\n"
        "except BrokenOffError as error:\n    os.kill(os.getpid(), 15); print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert reason in done.stdout
