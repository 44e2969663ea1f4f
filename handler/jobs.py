"""The training-job launcher: starts the operator's command for a `train` request, and tells how the job goes.

The jobs' folder holds a lock and a numbered folder for each job: the request and its texts, which are
written here, and job.json, which is written here once and then by the job. The job inherits the lock, and
gives it back when it has written down its end; when its process goes otherwise, the lock is free, too. So two
workers never start a job each.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from handler.errors import ApiError, invalid_request
from handler.schema import TrainRequest
from handler.settings import TrainingSettings

JOB_VARIABLE = "NEUROQ_JOB"  # in the environment of a job's processes: its folder
LOCK_VARIABLE = "NEUROQ_JOB_LOCK"  # and, of its first process, the descriptor of the lock
ACTIVE = ("queued", "running", "releasing")
_HIDDEN = ("pid",)
_CHECKPOINT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.pt")
_DEFAULT_CHECKPOINT = "neuroq_checkpoint.pt"
# Looking whether the lock is held takes it for a moment.
_LOCK_ATTEMPTS, _LOCK_PAUSE = 3, 0.002  # seconds


class Jobs:
    """Starts one job at a time, over all workers."""

    def __init__(self, settings: TrainingSettings) -> None:
        self._command, self._path = shlex.split(settings.command), Path(settings.path)
        self._cleaned: set[str] = set()  # dead jobs that somebody was sent to clean up after

    def start(self, request: TrainRequest) -> str:
        """Start a job; return its id. Raises ApiError: 400 for what a job cannot take, 409 beside another."""
        checkpoint = _checkpoint_name(request.checkpoint_path)
        _require_text(request.texts)
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked() as lock:
            job_id = str(self._latest_number() + 1)
            folder = self._path / job_id
            folder.mkdir(mode=0o700)
            try:
                _write_request(folder, request, checkpoint)
                _write(folder / "job.json", json.dumps({"id": job_id, "state": "queued", "progress": 0.0}))
                self._launch(folder, lock)
            except BaseException:
                shutil.rmtree(folder)
                raise
        return job_id

    def latest(self) -> dict[str, Any] | None:
        """Return what the newest job says of itself, None before the first one."""
        number = self._latest_number()
        record = self._read(number)
        if record is None or record["state"] not in ACTIVE or self._is_held():
            return record
        record = self._read(number)  # it may have ended between the two looks
        if record is not None and record["state"] in ACTIVE:
            self._clean_up_after(record["id"])
            record |= {"state": "failed", "error": "the job was killed"}
        return record

    def _latest_number(self) -> int:
        """Return the newest job's number, 0 without any."""
        try:
            return max((int(p.name) for p in self._path.iterdir() if p.name.isdecimal()), default=0)
        except FileNotFoundError:
            return 0

    def _read(self, number: int) -> dict[str, Any] | None:
        try:
            record = json.loads((self._path / str(number) / "job.json").read_bytes())
        except FileNotFoundError:
            return None
        return {name: value for name, value in record.items() if name not in _HIDDEN}

    @contextmanager
    def _locked(self) -> Iterator[IO[bytes]]:
        """Hold the lock. Raises ApiError (409) while a job does."""
        with (self._path / "lock").open("ab") as lock:
            for attempt in range(_LOCK_ATTEMPTS):
                if _try_lock(lock, fcntl.LOCK_EX):
                    yield lock
                    return
                time.sleep(_LOCK_PAUSE if attempt + 1 < _LOCK_ATTEMPTS else 0)
        raise ApiError(409, "train_busy", "a training job is already running; status tells how far it is")

    def _is_held(self) -> bool:
        with (self._path / "lock").open("ab") as lock:
            return not _try_lock(lock, fcntl.LOCK_SH)

    def _launch(self, folder: Path, lock: IO[bytes]) -> None:
        with (folder / "log.txt").open("wb") as log:
            variables = {JOB_VARIABLE: str(folder), LOCK_VARIABLE: str(lock.fileno())}
            self._run([*self._command, str(folder)], variables, log, lock.fileno())

    def _clean_up_after(self, job_id: str) -> None:
        """Let the command take away what a killed job has left, once."""
        if job_id not in self._cleaned:
            self._cleaned.add(job_id)
            self._run(self._command, {}, subprocess.DEVNULL)

    @staticmethod
    def _run(command: list[str], variables: dict[str, str], output: IO[bytes] | int, *kept: int) -> None:
        """Start a process in a session of its own, which nothing that ends this worker reaches."""
        process = subprocess.Popen(
            command,
            cwd="/",
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=kept,
        )
        threading.Thread(target=process.wait, name="neuroq-job", daemon=True).start()  # no zombie stays


def _checkpoint_name(path: str | None) -> str:
    """Return the name of the job's checkpoint: a client never chooses a place on the server."""
    if path is not None and path.startswith(("s3://", "gs://")):
        message = "object stores (s3://, gs://) cannot be written to by a training job"
        raise invalid_request(f"checkpoint_path: {message}", "checkpoint_path")
    if path is not None and not _CHECKPOINT_NAME.fullmatch(path):
        message = "must be a file's name such as mine.pt, without a folder; each job has a folder of its own"
        raise invalid_request(f"checkpoint_path: {message}", "checkpoint_path")
    return path or _DEFAULT_CHECKPOINT


def _require_text(texts: list[str] | None) -> None:
    if texts is not None and not all(text.strip() for text in texts or [""]):
        raise invalid_request("texts: must be a list of at least one text, none of them blank", "texts")


def _write_request(folder: Path, request: TrainRequest, checkpoint: str) -> None:
    """Write the arguments and the texts, one document each."""
    arguments = request.model_dump(include={"epochs", "batch_size", "lr", "seq_length"})
    _write(folder / "request.json", json.dumps({**arguments, "checkpoint": checkpoint}))
    if request.texts is not None:
        lines = (json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in request.texts)
        _write(folder / "texts.jsonl", "".join(lines))


def _write(path: Path, text: str) -> None:
    """Write under a temporary name and rename: a reader never sees half of it."""
    temporary = path.with_suffix(".new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _try_lock(lock: IO[bytes], kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
