"""RUN_DIR/server.json: which process runs from this folder, and with which settings.

Written when the process starts and removed when it is stopped; one that outlives its process is stale.
"""

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import psutil

from server.errors import NotRunningError
from server.settings import Settings

# The time of a process's start is computed from the machine's boot time, which a clock correction moves.
CREATE_TIME_TOLERANCE = 5.0


@dataclass(frozen=True)
class ServerState:
    """A started server: its Java process (also its session's id), its private folder, its settings."""

    pid: int
    create_time: float
    temp_dir: str
    started_at: str
    settings: Settings

    @property
    def is_alive(self) -> bool:
        """Tell whether the recorded process still runs, and is that process."""
        return self.process() is not None

    @property
    def key_file(self) -> Path:
        """Where TorchServe writes this start's tokens."""
        return self.settings.run_dir / "key_file.json"

    def process(self) -> psutil.Process | None:
        """Return the Java process, or None when it is gone, even if another has its number.

        Number and start time tell; its command line does not: it is empty while the program is being loaded.
        """
        try:
            process = psutil.Process(self.pid)
            is_same = abs(process.create_time() - self.create_time) < CREATE_TIME_TOLERANCE
            is_running = process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return None
        return process if is_same and is_running else None


def state_path(run_dir: Path) -> Path:
    """Return where the state of a run folder is."""
    return run_dir / "server.json"


def write_state(state: ServerState) -> None:
    """Write the state under a temporary name and rename it: a reader never sees half of it."""
    path = state_path(state.settings.run_dir)
    temporary = path.with_suffix(f".{os.getpid()}.new")
    temporary.touch(mode=0o600)  # a session store's address may hold a password
    record = json.dumps(asdict(state), default=str, ensure_ascii=False, indent=1)
    temporary.write_text(record, encoding="utf-8")
    temporary.replace(path)


def read_state(run_dir: Path) -> ServerState | None:
    """Return the recorded state, alive or stale; None when there is none, or none that can be read."""
    try:
        record = json.loads(state_path(run_dir).read_text(encoding="utf-8"))
        return ServerState(**{**record, "settings": _settings(record["settings"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def running_state(run_dir: Path) -> ServerState:
    """Return the state of the server that runs from this folder; raises NotRunningError otherwise."""
    state = read_state(run_dir)
    if state is None or not state.is_alive:
        raise NotRunningError(f"no server runs from {run_dir}; start one with ./neuroq serve")
    return state


def _settings(record: dict[str, Any]) -> Settings:
    values = {field.name: record[field.name] for field in fields(Settings) if field.name in record}
    return Settings(**{**values, **{name: Path(values[name]) for name in ("run_dir", "model_store")}})
