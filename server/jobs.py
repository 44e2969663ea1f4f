"""RUN_DIR/jobs: the training jobs of an instance, a numbered folder each, and the lock of the one that runs.

A job's processes carry its folder in their environment, and its first process holds the lock (handler/jobs.py
opens it). A job that says it runs while nobody holds the lock was killed: whoever looks next buries it.
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timezone
from pathlib import Path

import psutil

ACTIVE = ("queued", "running", "releasing")
VARIABLE, LOCK_VARIABLE = "NEUROQ_JOB", "NEUROQ_JOB_LOCK"
RECORD, LOG = "job.json", "log.txt"
TEMPORARY, PROGRESS = "tmp", "progress.json"
NUM_KEPT = 10  # folders of jobs that were not released
STOP_TIMEOUT, KILL_TIMEOUT = 30.0, 5.0


@dataclass(frozen=True)
class Job:
    """What a job says of itself. `loss` is the last step's, in nats a token; times are ISO 8601, UTC.

    `checkpoint` is the trained one's path below the run folder, `version` what it was released as.
    """

    id: str
    state: str  # queued, running, releasing; succeeded, refused, failed
    progress: float = 0.0  # of the training, 0 to 1
    epoch: int = 0
    loss: float | None = None
    started: str | None = None
    ended: str | None = None
    error: str | None = None
    checkpoint: str | None = None
    version: str | None = None
    pid: int | None = None  # the first process, also the number of the job's session and process group

    @property
    def is_active(self) -> bool:
        """Tell whether the job has not come to an end by its own account."""
        return self.state in ACTIVE

    def ended_as(self, state: str, error: str | None = None) -> "Job":
        """Return the job at its end."""
        return replace(self, state=state, error=error, ended=now())


def now() -> str:
    """Return the time, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def jobs_path(run_dir: Path) -> Path:
    """Return where the jobs of a run folder are."""
    return run_dir / "jobs"


def job_folders(run_dir: Path) -> list[Path]:
    """Return the folders of the jobs, the newest last."""
    folders = [path for path in jobs_path(run_dir).glob("*") if path.name.isdecimal()]
    return sorted(folders, key=lambda path: int(path.name))


def read_job(folder: Path) -> Job | None:
    """Return what a job says of itself, None for one that was killed before its first word."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return Job(**{field.name: record[field.name] for field in fields(Job) if field.name in record})
    except (OSError, ValueError, TypeError):
        return None


def write_job(folder: Path, job: Job) -> None:
    """Write what a job says of itself; a reader never sees half of it."""
    temporary = folder / f"{RECORD}.new"
    temporary.write_text(json.dumps(asdict(job), ensure_ascii=False), encoding="utf-8")
    temporary.replace(folder / RECORD)


def latest_job(run_dir: Path) -> Job | None:
    """Return the newest job, None before the first one."""
    folders = job_folders(run_dir)
    return read_job(folders[-1]) if folders else None


def stop_job(run_dir: Path, timeout: float = STOP_TIMEOUT) -> bool:
    """End the job that runs, kill it when it does not; tells whether one ran. Nothing of it is left."""
    folders, asked = job_folders(run_dir), set[int]()
    if not folders or not _is_held(run_dir):
        bury_killed_jobs(run_dir)
        return False
    deadline = time.monotonic() + timeout
    while (processes := job_processes(folders[-1])) or _is_held(run_dir):
        for process in processes:
            if time.monotonic() > deadline:
                _signal(process, "kill")
            elif process.pid not in asked and _leads_session(process):  # it ends the others
                asked.add(process.pid)
                _signal(process, "terminate")
        time.sleep(0.1)
    bury_killed_jobs(run_dir)
    return True


def job_processes(folder: Path) -> list[psutil.Process]:
    """Return the job's processes, this one left out."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            place = process.environ().get(VARIABLE)
            if place and process.pid != os.getpid() and folder.samefile(place):
                found.append(process)
    return found


def kill_processes(folder: Path) -> None:
    """Kill what runs of a job, but not this process."""
    processes = job_processes(folder)
    for process in processes:
        _signal(process, "kill")
    psutil.wait_procs(processes, timeout=KILL_TIMEOUT)


def let_go() -> None:
    """Give back the lock that this job's process was started with: the next one may begin."""
    descriptor = os.environ.get(LOCK_VARIABLE)
    if descriptor is not None:
        fcntl.flock(int(descriptor), fcntl.LOCK_UN)


def bury_killed_jobs(run_dir: Path) -> None:
    """Take away what jobs have left that were killed; a job that runs does this when it begins."""
    if any(_is_unfinished(folder) for folder in job_folders(run_dir)):
        with _lock(run_dir) as is_mine:
            if is_mine:
                bury_all_but(run_dir, None)


def bury_all_but(run_dir: Path, alive: Path | None) -> None:
    """Bury every unfinished job but one, and drop the oldest that were not released. Needs the lock."""
    folders = [folder for folder in job_folders(run_dir) if folder != alive]
    for folder in filter(_is_unfinished, folders):
        kill_processes(folder)
        _bury(folder)
    jobs = [(folder, read_job(folder)) for folder in folders]
    unreleased = [folder for folder, job in jobs if job and job.version is None]
    for folder in unreleased[:-NUM_KEPT]:
        shutil.rmtree(folder)


def clear(folder: Path, *, keeps_result: bool) -> None:
    """Remove what is temporary of a job, or all but its record and its log."""
    for path in folder.iterdir():
        is_useful = path.name not in (TEMPORARY, PROGRESS) if keeps_result else path.name in (RECORD, LOG)
        if not is_useful and path.is_dir():
            shutil.rmtree(path)
        elif not is_useful:
            path.unlink()


def _bury(folder: Path) -> None:
    """Clear a killed job's folder and write down its end; killed after its promotion it has succeeded."""
    job = read_job(folder)
    if job is None:
        shutil.rmtree(folder)
    elif job.version is not None:
        clear(folder, keeps_result=True)
        write_job(folder, job.ended_as("succeeded"))
    else:
        clear(folder, keeps_result=False)
        write_job(folder, replace(job, checkpoint=None).ended_as("failed", "the job was killed"))


def _is_unfinished(folder: Path) -> bool:
    job = read_job(folder)
    return job is None or job.is_active


def _is_held(run_dir: Path) -> bool:
    with _lock(run_dir, fcntl.LOCK_SH) as is_mine:
        return not is_mine


@contextmanager
def _lock(run_dir: Path, kind: int = fcntl.LOCK_EX) -> Iterator[bool]:
    """Take the jobs' lock for the block; gives whether it was free."""
    with (jobs_path(run_dir) / "lock").open("ab") as lock:
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _leads_session(process: psutil.Process) -> bool:
    try:
        return os.getsid(process.pid) == process.pid
    except ProcessLookupError:
        return False


def _signal(process: psutil.Process, name: str) -> None:
    with suppress(psutil.NoSuchProcess):
        getattr(process, name)()
