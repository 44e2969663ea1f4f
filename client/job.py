"""A training job: the offline command at the lowest priority, then the release of what it made.

`python -m client.job --run-dir RUN FOLDER` is what a `train` request starts (handler/jobs.py), in a session
of its own and with the jobs' lock in its hands; FOLDER holds the request. Without FOLDER it takes away what
killed jobs and releases have left.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import click
import psutil

from client.canary import take_back_killed
from client.options import ROOT, settings_from
from client.quality import Measures
from client.release import RefusedError, release
from server import jobs
from server.errors import ServerError
from server.jobs import Job, write_job
from server.state import running_state

POLL_SECONDS = 0.5
OPTIONS = ("epochs", "batch_size", "lr", "seq_length")


class BrokenOffError(Exception):
    """The job has to end now."""


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@click.option("--run-dir", required=True)
@click.option("--memory", default=4, show_default=True, help="GiB that a process may take.")
@click.option("--minutes", default=1440.0, show_default=True, help="Wall time.")
def main(folder: Path | None, run_dir: str, memory: int, minutes: float) -> None:
    """Run the job in FOLDER; without it, clean up after killed ones."""
    if folder is None:
        jobs.bury_killed_jobs(Path(run_dir))
        take_back_killed(settings_from({"run_dir": run_dir}), waits=False)
        return
    step_back(memory)
    break_off_on_signals(minutes)
    TrainingJob(folder, Path(run_dir)).run()


class TrainingJob:
    """Runs one job, and keeps job.json up to date."""

    def __init__(self, folder: Path, run_dir: Path) -> None:
        self._folder, self._run_dir = folder, run_dir
        self._request: dict[str, Any] = json.loads((folder / "request.json").read_text(encoding="utf-8"))
        self._checkpoint = folder / self._request["checkpoint"]
        self._job = Job(folder.name, "queued", started=jobs.now(), pid=os.getpid())

    def run(self) -> None:
        """Train, release, and say how it ended. Whatever happens, nothing goes on running."""
        try:
            self._prepare()
            self._train()
            self._release()
        except RefusedError as error:
            self._end("refused", str(error))
        except BrokenOffError as error:
            self._tell(checkpoint=None)
            self._end("failed", str(error))
        except (ServerError, OSError) as error:
            self._end("failed", str(error))
        except BaseException as error:
            self._end("failed", f"{type(error).__name__}: {error}")
            raise

    def _prepare(self) -> None:
        """Make a place for temporary files in the job's folder, and take away what killed ones have left."""
        temporary = self._folder / jobs.TEMPORARY
        temporary.mkdir()
        os.environ |= dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))
        tempfile.tempdir = None
        self._tell(state="running")
        jobs.bury_all_but(self._run_dir, self._folder)

    def _train(self) -> None:
        progress = self._folder / jobs.PROGRESS
        command = [sys.executable, "-m", "train", *self._options(), "--progress_file", str(progress)]
        code = wait(subprocess.Popen(command, cwd=ROOT), lambda: self._tell(**read_progress(progress)))
        if code < 0:
            raise ServerError(f"the training was killed by {signal.Signals(-code).name}; was memory short?")
        if code:
            raise ServerError(f"the training ended with exit code {code}: {self._last_line()}")
        self._tell(**read_progress(progress) | {"progress": 1.0})

    def _options(self) -> list[str]:
        texts = self._folder / "texts.jsonl"
        words = [f"--texts={texts}"] if texts.exists() else []
        words += [f"--{name}={self._request[name]}" for name in OPTIONS]
        return [*words, f"--checkpoint_path={self._checkpoint}"]

    def _release(self) -> None:
        checkpoint = str(self._checkpoint.relative_to(self._run_dir))
        self._tell(state="releasing", checkpoint=checkpoint)
        settings = replace(running_state(self._run_dir).settings, checkpoint_path=str(self._checkpoint))
        release(settings, None, Measures(), self._promoted)
        self._end("succeeded")

    def _promoted(self, version: str) -> None:
        """From here on nothing breaks the job off: what it trained is served."""
        on_signals(signal.SIG_IGN)
        self._tell(version=version)

    def _end(self, state: str, error: str = "") -> None:
        """Stop what still runs, remove what is of no use any more, and only then tell the end."""
        on_signals(signal.SIG_IGN)
        jobs.kill_processes(self._folder)
        jobs.clear(self._folder, keeps_result=self._job.checkpoint is not None)
        line = " ".join(error.replace(f"{self._folder}{os.sep}", "").split())
        write_job(self._folder, self._job.ended_as(state, line or None))
        jobs.let_go()

    def _tell(self, **changes: Any) -> None:
        changed = replace(self._job, **changes)
        if changed != self._job:
            self._job = changed
            write_job(self._folder, changed)

    def _last_line(self) -> str:
        lines = (self._folder / jobs.LOG).read_text(encoding="utf-8", errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def step_back(memory: int) -> None:
    """Let this process, and what it starts, give way to all others, and bound the memory (GiB) of each."""
    os.setpriority(os.PRIO_PROCESS, 0, 19)
    with suppress(OSError, AttributeError):  # not everywhere allowed or there
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with suppress(psutil.Error, OSError, AttributeError):
        psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)
    with suppress(OSError):  # where each session has a share of its own, niceness alone weighs within it
        Path("/proc/self/autogroup").write_text("19")
    with suppress(OSError):  # when memory is short, this goes first
        Path("/proc/self/oom_score_adj").write_text("1000")
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    limit = memory << 30 if most == resource.RLIM_INFINITY else min(memory << 30, most)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def break_off_on_signals(minutes: float) -> None:
    """Raise BrokenOffError in whatever runs when the operator stops the job or its time is over."""

    def break_off(number: int, _frame: object) -> NoReturn:
        on_signals(signal.SIG_IGN)
        is_late = number == signal.SIGALRM
        raise BrokenOffError(
            f"took longer than {minutes:g} minutes" if is_late else "stopped by the operator"
        )

    on_signals(break_off)
    signal.setitimer(signal.ITIMER_REAL, minutes * 60)


def on_signals(action: Callable[[int, Any], Any] | signal.Handlers) -> None:
    """Do this when the job is to end."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        signal.signal(number, action)


def wait(process: subprocess.Popen[bytes], look: Callable[[], None]) -> int:
    """Return a process's exit code, looking after something meanwhile."""
    while True:
        try:
            return process.wait(timeout=POLL_SECONDS)
        except subprocess.TimeoutExpired:
            look()


def read_progress(path: Path) -> dict[str, Any]:
    """Return progress, epoch and loss as the training wrote them, nothing before its first step."""
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
        return found
    except FileNotFoundError:
        return {}


if __name__ == "__main__":
    main()
