"""The handler's own settings: the `handler` part of model-config.yaml."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

SESSIONS_PATH_VARIABLE = "NEUROQ_SESSIONS_PATH"
SESSION_STORE_VARIABLE = "NEUROQ_SESSION_STORE"
SESSION_STORE_AWAY_VARIABLE = "NEUROQ_SESSION_STORE_AWAY"
_REDIS_ADDRESS = re.compile(r"rediss?://[^/?]+(/[0-9]+)?(\?.*)?")
PRECISION_VARIABLE = "NEUROQ_PRECISION"
TRAINING_VARIABLE = "NEUROQ_TRAINING"
TRAINING_COMMAND_VARIABLE = "NEUROQ_TRAINING_COMMAND"
TRAINING_PATH_VARIABLE = "NEUROQ_TRAINING_PATH"
IN_FLIGHT_VARIABLE = "NEUROQ_IN_FLIGHT_PATH"


@dataclass(frozen=True)
class SessionSettings:
    """Place and bounds of the conversations.

    `store` is a Redis address, redis:// or rediss://; without one it is the SQLite file `path`, and an empty
    `path` means a file of this user's own below TMPDIR. While Redis is away, `store_away` lets requests
    without history be answered ("answer"), or none ("refuse").
    """

    path: str = ""
    store: str = ""
    store_away: str = "answer"
    share_default: bool = True
    idle_seconds: float = 86_400.0
    max_sessions: int = 10_000
    max_turns: int = 40
    max_bytes: int = 65_536

    def __post_init__(self) -> None:
        if self.store and not _REDIS_ADDRESS.fullmatch(self.store):  # its password is nobody's business
            text = f"{SESSION_STORE_VARIABLE} must be redis://HOST:PORT/DB or rediss://…, or empty for SQLite"
            raise ValueError(text)
        if self.store_away not in ("answer", "refuse"):
            text = f"{SESSION_STORE_AWAY_VARIABLE} must be answer or refuse, not {self.store_away!r}"
            raise ValueError(text)


@dataclass(frozen=True)
class TrainingSettings:
    """Whether `train` requests start jobs, the command that runs one in a folder, and the jobs' folder."""

    enabled: bool = False
    command: str = ""
    path: str = ""

    def __post_init__(self) -> None:
        if self.enabled and not (self.command and self.path):
            raise ValueError(
                "model-config.yaml, handler: training.enabled needs training.command and training.path; "
                "./neuroq serve --training true sets them"
            )


@dataclass(frozen=True)
class HandlerSettings:
    """How one worker runs the engine.

    `slots` requests decode together and `max_waiting` more may wait; TorchServe's batchSize should exceed
    their sum, so that health checks and refusals get through while all of them are taken. A step decodes at
    most `tokens_per_step` tokens for each request, fewer when they would take too long. `threads` share the
    native decoder's rows. `in_flight_path` is the file of handler/in_flight.py, empty for none.
    """

    slots: int = 32
    max_waiting: int = 96
    tokens_per_step: int = 32
    deadline_seconds: float = 60.0
    precision: str = "auto"
    threads: int = 1
    in_flight_path: str = ""
    sessions: SessionSettings = field(default_factory=SessionSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)


def read_settings(model_config: Mapping[str, Any], environment: Mapping[str, str]) -> HandlerSettings:
    """Return the settings of a parsed model-config.yaml.

    The environment may name the sessions' file, the precision, the file of requests in flight, and switch
    training on and off.

    Raises ValueError that names an unknown or mistyped setting.
    """
    values = dict(model_config.get("handler") or {})
    sessions = dict(values.pop("sessions", None) or {})
    training = dict(values.pop("training", None) or {})
    for name, variable in (("store", SESSION_STORE_VARIABLE), ("store_away", SESSION_STORE_AWAY_VARIABLE)):
        if environment.get(variable):
            sessions[name] = environment[variable]
    if environment.get(SESSIONS_PATH_VARIABLE):
        sessions["path"] = environment[SESSIONS_PATH_VARIABLE]
    for name, variable in (("precision", PRECISION_VARIABLE), ("in_flight_path", IN_FLIGHT_VARIABLE)):
        if environment.get(variable):
            values[name] = environment[variable]
    if environment.get(TRAINING_VARIABLE):
        text = environment[TRAINING_VARIABLE]
        training["enabled"] = {"true": True, "false": False}.get(text, text)
    for name, variable in (("command", TRAINING_COMMAND_VARIABLE), ("path", TRAINING_PATH_VARIABLE)):
        if environment.get(variable):
            training[name] = environment[variable]
    _check(HandlerSettings, values)
    _check(SessionSettings, sessions)
    _check(TrainingSettings, training)
    return HandlerSettings(
        **values, sessions=SessionSettings(**sessions), training=TrainingSettings(**training)
    )


def sessions_path(settings: SessionSettings) -> Path:
    """Return the sessions' file; its folder exists afterwards."""
    path = Path(settings.path or Path(tempfile.gettempdir()) / f"neuroq-{os.getuid()}" / "sessions.db")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def _check(
    kind: type[HandlerSettings] | type[SessionSettings] | type[TrainingSettings], values: Mapping[str, Any]
) -> None:
    """Raise ValueError unless each value is of its default's type and, if a number, positive."""
    defaults = {f.name: f.default for f in fields(kind)}
    for name, value in values.items():
        if name not in defaults:
            raise ValueError(f"model-config.yaml, handler: unknown setting {name}")
        default = defaults[name]
        fits = type(value) is type(default) or (isinstance(default, float) and type(value) is int)
        if not fits:
            raise ValueError(f"model-config.yaml, handler: {name} must be like {default!r}, got {value!r}")
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value <= 0:
            raise ValueError(f"model-config.yaml, handler: {name} must be positive, got {value!r}")
