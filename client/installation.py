"""The virtual environment that `./neuroq` prepares for itself, once, and enters.

Standard library only: this runs before anything is installed. A stamp in the environment names the
requirement files that it holds, so a later call only compares hashes. The stamp says "incomplete" from
before the first change until after the last: an interrupted installation is begun anew by the next call.
Only an environment that was made here is ever emptied; one of the user's is "borrowed", and only added to.
"""

import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NoReturn

from server.java import find_system_java

CALLED_FROM = "NEUROQ_CALLED_FROM"  # where the user stands: relative paths start there
STAMP_NAME = "neuroq-installed.json"
NUM_FAILURE_LINES = 15


class InstallationError(Exception):
    """The environment cannot be prepared; the message says what to do."""


@dataclass
class Stamp:
    """What an environment holds: requirement file → hash of its content."""

    location: str = ""
    is_complete: bool = False
    is_borrowed: bool = False
    files: dict[str, str] = field(default_factory=dict)

    def holds(self, files: dict[str, str]) -> bool:
        """Tell whether all these files, as they are now, are installed."""
        return self.is_complete and files.items() <= self.files.items()


def run(root: str, arguments: Sequence[str]) -> int:
    """Prepare the environment, then become `python -m client ARGUMENTS` in it; returns on failure only."""
    location = Path(os.environ.get("NEUROQ_VENV") or Path(root, ".venv")).absolute()
    try:
        prepare(Path(root), location, arguments[0])
    except InstallationError as error:
        print(f"neuroq: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nneuroq: interrupted; the next call begins anew", file=sys.stderr)
        return 130
    return _become_client(root, location, arguments)


def _become_client(root: str, location: Path, arguments: Sequence[str]) -> NoReturn:
    with suppress(FileNotFoundError):  # a folder that was removed under the user's feet
        os.environ[CALLED_FROM] = str(Path.cwd())
    os.chdir(root)
    python = str(location / "bin" / "python")
    flags = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv)]  # python's own, such as -X utf8
    os.execv(python, [python, *flags, "-m", "client", *arguments])


def prepare(root: Path, location: Path, command: str) -> None:
    """Bring the environment up to what the command needs; returns at once when it is."""
    stamp = read_stamp(location)
    if stamp.holds(needed_files(root, command, stamp)):
        return
    with locked(location) as lock:
        stamp = read_stamp(location)  # another call may have prepared it meanwhile
        files = needed_files(root, command, stamp)
        if not stamp.holds(files):
            _install(root, location, stamp, files, lock)


def needed_files(root: Path, command: str, stamp: Stamp) -> dict[str, str]:
    """Return name → hash of the requirement files that a command needs on this machine."""
    names = ["serve.txt"]
    if (root / "train").is_dir():
        names.append("train.txt")
    if command == "test":
        names.append("dev.txt")
        if sys.version_info >= (3, 11):  # the runpod package brings what older ones do not have
            names.append("runpod.txt")
    if "java.txt" in stamp.files or find_system_java(os.environ) is None:
        names.append("java.txt")
    folder = root / "requirements"
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def read_stamp(location: Path) -> Stamp:
    """Return the environment's stamp; one that holds nothing when the environment cannot be used."""
    try:
        stamp = Stamp(**json.loads((location / STAMP_NAME).read_text()))
    except (OSError, ValueError, TypeError):
        return Stamp()
    # A moved folder or a replaced Python leaves scripts and links that point nowhere.
    is_usable = stamp.location == str(location) and os.access(location / "bin" / "python", os.X_OK)
    return stamp if is_usable and stamp.is_complete else Stamp(is_borrowed=stamp.is_borrowed)


def write_stamp(location: Path, stamp: Stamp) -> None:
    """Write the stamp under a temporary name and rename it: never half a stamp."""
    temporary = location / f"{STAMP_NAME}.new"
    temporary.write_text(json.dumps(asdict(stamp), indent=1))
    temporary.replace(location / STAMP_NAME)


@contextmanager
def locked(location: Path) -> Iterator[int]:
    """Hold the environment's lock, the folder itself, which emptying it leaves in place; gives its number."""
    try:
        location.mkdir(parents=True, exist_ok=True)
        folder = os.open(location, os.O_RDONLY)
    except OSError as error:
        raise InstallationError(f"cannot make {location} ({error.strerror}); set NEUROQ_VENV") from error
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"Waiting for another call that prepares {location} …")
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(folder)


def _install(root: Path, location: Path, stamp: Stamp, files: dict[str, str], lock: int) -> None:
    _require_usable(location)
    missing = [name for name in files if stamp.files.get(name) != files[name]]
    _say(f"Preparing {location} ({', '.join(missing)}; once, a few minutes) …")
    is_borrowed = stamp.is_borrowed or _is_foreign(location)
    if not is_borrowed and not stamp.is_complete:
        _make_environment(location)
    write_stamp(location, Stamp(str(location), is_borrowed=is_borrowed))
    try:
        _pip_install(location, [root / "requirements" / name for name in missing], lock)
    except InstallationError:  # offline, say: pip has changed nothing yet, so what worked still does
        write_stamp(location, stamp if stamp.is_complete else Stamp(str(location), is_borrowed=is_borrowed))
        raise
    write_stamp(location, Stamp(str(location), True, is_borrowed, stamp.files | files))
    _say("Prepared.")


def _require_usable(location: Path) -> None:
    is_environment = any((location / name).exists() for name in (STAMP_NAME, "pyvenv.cfg"))
    if not is_environment and any(location.iterdir()):
        raise InstallationError(f"{location} is neither empty nor a virtual environment; change NEUROQ_VENV")


def _is_foreign(location: Path) -> bool:
    return (location / "pyvenv.cfg").exists() and not (location / STAMP_NAME).exists()


def _make_environment(location: Path) -> None:
    _empty(location)
    _require_venv_modules()
    write_stamp(location, Stamp(str(location)))
    try:
        venv.EnvBuilder(with_pip=True, symlinks=True).create(location)
    except (OSError, subprocess.CalledProcessError) as error:
        raise InstallationError(f"cannot make a virtual environment in {location}: {error}") from error


def _empty(location: Path) -> None:
    for entry in location.iterdir():
        if entry.name == STAMP_NAME:  # last thing standing: it marks the folder as ours
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _require_venv_modules() -> None:
    if importlib.util.find_spec("ensurepip") is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise InstallationError(
            f"this Python has no ensurepip; install it (Debian, Ubuntu: apt install python{version}-venv)"
        )


def _pip_install(location: Path, files: Sequence[Path], lock: int) -> None:
    """Run pip; it holds the lock too, so that one that outlives us is waited for."""
    command = [str(location / "bin" / "python"), "-m", "pip", "install", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar", "off"]
    for path in files:
        command += ["-r", str(path)]
    pip = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, pass_fds=(lock,)
    )
    output, _ = pip.communicate()
    if pip.returncode:
        last_lines = "\n".join(output.strip().splitlines()[-NUM_FAILURE_LINES:])
        raise InstallationError(f"pip failed ({pip.returncode}); its last lines:\n{last_lines}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
