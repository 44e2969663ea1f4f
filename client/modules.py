"""The offline commands of train/, run as processes of their own: this side imports nothing of the engine."""

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import psutil

from client.options import ROOT
from server.errors import ServerError

CALLED_FROM = "NEUROQ_CALLED_FROM"  # as client/installation.py sets it
BACKGROUND = 10  # niceness of what may wait for the requests that are being answered


def stand_where_called() -> None:
    """Go back to where the user stands, from NeuroQ's folder, where Python has found this code."""
    with suppress(KeyError, OSError):
        os.chdir(os.environ[CALLED_FROM])


def become_module(module: str, arguments: Sequence[str]) -> NoReturn:
    """Turn this process into `python -m MODULE`, whose paths start where the user stands."""
    if module.partition(".")[0] == "train":
        require_train()
        os.environ[CALLED_FROM] = str(Path.cwd())
    else:  # pytest: the tests are run in NeuroQ's folder
        os.environ.pop(CALLED_FROM, None)
    sys.stdout.flush()
    os.chdir(ROOT)
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])


def require_train() -> None:
    """Raise ServerError where there is no folder train/ to run."""
    if not (ROOT / "train").is_dir():
        raise ServerError("this copy has no folder train/; it only serves")


def run_module(module: str, *arguments: str) -> None:
    """Run `python -m MODULE` here and wait; a Ctrl-C is for it, and it may take its time to save."""
    process = subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=ROOT, env=_environment())
    code = None
    while code is None:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            continue
    if code:
        shown = shlex.join(["python", "-m", module, *arguments])
        raise ServerError(f"`{shown}` ended with exit code {code}")


def module_output(module: str, *arguments: str) -> str:
    """Return what `python -m MODULE` prints; it gives way to the server. Raises ServerError, one line."""
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**_environment(), "PYTHONIOENCODING": "utf-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    try:
        with suppress(psutil.Error):
            child = psutil.Process(process.pid)
            child.nice(max(BACKGROUND, child.nice()))
        output, errors = process.communicate()
    except BaseException:
        process.kill()
        process.wait()
        raise
    if process.returncode:
        reason = (errors.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        raise ServerError(f"{module} failed: {reason}")
    sys.stderr.write(errors)
    return output


def _environment() -> dict[str, str]:
    """Tell a module, which is found in NeuroQ's folder, where the user stands."""
    return {**os.environ, CALLED_FROM: str(Path.cwd())}
