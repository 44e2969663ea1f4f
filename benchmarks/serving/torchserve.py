"""A TorchServe with one archive, started as ./neuroq serve starts NeuroQ's: same settings, same logs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from server.ports import free_ports
from server.process import session_members, start, stop, wait_until_ready
from server.settings import LOOPBACK, PORT_OPTIONS, Settings
from server.state import ServerState
from server.status import read_status

ROOT = Path(__file__).resolve().parents[2]
MODEL_NAME = "neuroq"


class TorchServe:
    """One server in a folder of its own, on free ports."""

    def __init__(
        self, folder: Path, variables: Mapping[str, str] | None = None, *, training: bool = False
    ) -> None:
        """`variables` are added to the server's environment; with `training`, requests may start jobs."""
        self._variables = variables or {}
        free = free_ports(len(PORT_OPTIONS))
        ports: dict[str, Any] = dict(zip((option.field for option in PORT_OPTIONS), free, strict=True))
        self.settings = Settings(
            run_dir=folder / "run",
            model_store=folder / "model_store",
            checkpoint_path="",
            profile="continuous",  # the archive's own counts
            host=LOOPBACK,
            training=training,
            **ports,
        )
        self.settings.model_store.mkdir(parents=True)
        self.token = ""
        self._state: ServerState | None = None

    def start(self) -> None:
        """Start the server and wait until its model answers. Raises ServerError."""
        with mock.patch.dict(os.environ, self._variables):
            self._state, mark = start(self.settings, ROOT)
        wait_until_ready(self._state, mark, on_wait=lambda: None)
        self.token = read_status(self.settings).token or ""

    def stop(self) -> None:
        """End the server and its workers."""
        stop(self.settings.run_dir)
        self._state = None

    def cpu_seconds(self) -> dict[str, float]:
        """Processor seconds so far of the front end (Java) and of the workers."""
        assert self._state is not None
        seconds = {"front end": 0.0, "worker": 0.0}
        for process in session_members(self._state):
            times = process.cpu_times()
            part = "front end" if process.pid == self._state.pid else "worker"
            seconds[part] += times.user + times.system
        return seconds


def write_archive(
    archive: Path, *, handler: Path, config: Mapping[str, Any], files: Sequence[Path] = ()
) -> None:
    """Make an archive of a handler, its model-config.yaml and files, or folders of files."""
    config_file = archive.with_suffix(".yaml")
    config_file.write_text(yaml.safe_dump(dict(config)))
    command = [sys.executable, "-m", "model_archiver.model_packaging", "--force"]
    options = {
        "--model-name": archive.stem,
        "--version": "1.0",
        "--handler": str(handler),
        "--config-file": str(config_file),
        "--export-path": str(archive.parent),
        **({"--extra-files": ",".join(map(str, files))} if files else {}),
    }
    words = [word for option in options.items() for word in option]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"torch-model-archiver failed: {done.stderr.strip()[-500:]}")
