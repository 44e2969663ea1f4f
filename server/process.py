"""One TorchServe process: started in a session of its own, watched until it is ready, stopped for good.

Java is started directly, with the command that the `torchserve` script builds: so there is one process to
watch, and paths with spaces or Japanese characters arrive whole. The working directory is the run folder,
where TorchServe writes key_file.json. Sockets of the workers live in a private folder with a short name: the
path of a unix socket has room for some 100 bytes.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import psutil

from server.archive import archive_profile, require_archive
from server.config import LOG_CONFIG_NAME, METRICS_CONFIG_NAME, parse_properties, render_config
from server.environment import server_environment
from server.errors import ServerError
from server.java import MIN_VERSION, find_java_home
from server.logs import CONSOLE_LOG, LogMark, mark_logs
from server.ports import require_free_ports
from server.readiness import Health, probe
from server.releases import archives_to_load
from server.settings import BACKGROUND, Mode, Settings
from server.state import ServerState, read_state, state_path, write_state

MAIN_CLASS = "org.pytorch.serve.ModelServer"
START_TIMEOUT = 120.0
STOP_TIMEOUT = 30.0
KILL_TIMEOUT = 5.0
MAX_WORKER_FAILURES = 3
MAX_TEMP_ROOT_LENGTH = 40


def start(settings: Settings, root: Path, mode: Mode = BACKGROUND) -> tuple[ServerState, LogMark]:
    """Start TorchServe and record it; the caller waits with `wait_until_ready`."""
    _require_no_server(settings)
    require_free_ports(settings)
    archives = archives_to_load(settings)
    require_archive(archives[0])
    profile = archive_profile(archives[0])  # what will run, whatever was asked for
    settings = replace(settings, profile=profile or settings.profile)
    java_home = find_java_home(os.environ)
    if java_home is None:
        raise ServerError(f"no Java {MIN_VERSION} or newer: install one or set JAVA_HOME")
    config = _prepare_run_dir(settings, root, archives, mode)
    mark = mark_logs(settings)
    return _launch(settings, java_home, config, mode), mark


def wait_until_ready(
    state: ServerState, mark: LogMark, on_wait: Callable[[], None], timeout: float = START_TIMEOUT
) -> Health:
    """Return when the server answers; raises at once when it cannot any more. Stops nothing."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if not state.is_alive:
            raise ServerError(f"TorchServe ended while starting:\n{mark.explanation()}")
        health = probe(state)
        if health.is_ready:
            return health
        _require_hope(health, mark)
        on_wait()
        time.sleep(0.25)
    raise ServerError(f"not ready after {timeout:.0f} s:\n{mark.explanation()}")


def stop(run_dir: Path, timeout: float = STOP_TIMEOUT) -> bool:
    """End the server of a run folder and all its workers; tells whether one was running."""
    state = read_state(run_dir)
    if state is None:
        state_path(run_dir).unlink(missing_ok=True)
        return False
    java = state.process()
    members = session_members(state)
    if java is not None:
        _signal(java.terminate)
        _wait_until_gone(members, timeout)
    remaining = [process for process in members + session_members(state) if _is_alive(process)]
    for process in remaining:
        _signal(process.kill)
    _wait_until_gone(remaining, KILL_TIMEOUT)
    _forget(state)
    return java is not None


def session_members(state: ServerState) -> list[psutil.Process]:
    """Return the Java process and the workers: those that live in its session."""
    java = state.process()
    members = [java] if java is not None else []
    for process in psutil.process_iter():
        try:
            is_worker = process.pid != state.pid and os.getsid(process.pid) == state.pid
            # Without its leader a session's number may be another's by now: then only workers count.
            if is_worker and (java is not None or "model_service_worker" in " ".join(process.cmdline())):
                members.append(process)
        except (psutil.Error, OSError):
            continue
    return members


def _require_no_server(settings: Settings) -> None:
    state = read_state(settings.run_dir)
    if state is not None and state.is_alive:
        raise ServerError(f"a server already runs from {settings.run_dir} (process {state.pid})")
    stop(settings.run_dir)  # what a killed server or a reboot left


def _prepare_run_dir(settings: Settings, root: Path, archives: list[Path], mode: Mode) -> dict[str, str]:
    """Make the run folder, readable by its owner only: it holds tokens and conversations."""
    settings.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings.log_dir.mkdir(exist_ok=True)
    (settings.run_dir / "key_file.json").unlink(missing_ok=True)
    settings.in_flight_path.write_bytes(b"")
    base = (root / "config.properties").read_text(encoding="utf-8")
    text = render_config(base, settings, archives, mode)
    (settings.run_dir / "config.properties").write_text(text, encoding="utf-8")
    for name in (LOG_CONFIG_NAME, METRICS_CONFIG_NAME):
        shutil.copyfile(Path(__file__).with_name(name), settings.run_dir / name)
    return parse_properties(text)


def _launch(settings: Settings, java_home: Path, config: dict[str, str], mode: Mode) -> ServerState:
    temp_dir = Path(tempfile.mkdtemp(prefix="nq-", dir=_short_temp_root()))
    with (settings.log_dir / CONSOLE_LOG).open("wb") as console:
        process = subprocess.Popen(
            java_command(settings, java_home, temp_dir, config["vmargs"].split()),
            cwd=settings.run_dir,
            env=server_environment(os.environ, settings, java_home, temp_dir),
            stdin=subprocess.DEVNULL,
            stdout=None if mode.in_foreground else console,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    started_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    create_time = psutil.Process(process.pid).create_time()
    state = ServerState(process.pid, create_time, str(temp_dir), started_at, settings)
    write_state(state)
    return state


def java_command(settings: Settings, java_home: Path, temp_dir: Path, vmargs: list[str]) -> list[str]:
    """Return the command that `torchserve --foreground --ncs` would run."""
    home = _torchserve_home()
    command = [str(java_home / "bin" / "java"), f"-Dmodel_server_home={home}", f"-Djava.io.tmpdir={temp_dir}"]
    command += [*vmargs, "-cp", f".:{home / 'ts' / 'frontend' / '*'}", MAIN_CLASS]
    command += ["--python", sys.executable, "-f", "config.properties", "-s", str(settings.model_store)]
    return [*command, "-ncs"]


def _torchserve_home() -> Path:
    spec = importlib.util.find_spec("ts")  # found, not imported
    if spec is None or not spec.submodule_search_locations:
        raise ServerError("torchserve is not installed in this environment; run ./neuroq serve")
    return Path(spec.submodule_search_locations[0]).parent


def _short_temp_root() -> str:
    usual = tempfile.gettempdir()
    return usual if len(usual) <= MAX_TEMP_ROOT_LENGTH or not os.access("/tmp", os.W_OK) else "/tmp"


def _require_hope(health: Health, mark: LogMark) -> None:
    if health.is_listening and not health.has_model and mark.has_model_failure:
        raise ServerError(f"TorchServe cannot load the archive:\n{mark.explanation()}")
    if mark.num_worker_failures >= MAX_WORKER_FAILURES:
        raise ServerError(f"the worker failed {MAX_WORKER_FAILURES} times to load:\n{mark.explanation()}")


def _wait_until_gone(processes: list[psutil.Process], timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while any(_is_alive(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.05)


def _is_alive(process: psutil.Process) -> bool:
    """A zombie is gone: in a container its parent may be one that never collects it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _signal(send: Callable[[], None]) -> None:
    with suppress(psutil.NoSuchProcess):
        send()


def _forget(state: ServerState) -> None:
    shutil.rmtree(state.temp_dir, ignore_errors=True)
    state.key_file.unlink(missing_ok=True)
    state_path(state.settings.run_dir).unlink(missing_ok=True)
