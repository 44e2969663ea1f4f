"""One instance's settings, from command-line options and environment variables.

`read_settings` is pure: the same options and environment give the same `Settings`. An option wins over its
variable, a variable over the default, and an empty one counts as not given.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.errors import SettingsError
from storage.location import is_remote, parse_folder, parse_object

DEFAULT_CHECKPOINT = "checkpoints/neuroq_checkpoint.pt"
SHIPPED_CHECKPOINT = "pretrained/neuroq.pt"  # what is served while there is none at the default path
PROFILES = ("continuous", "workers")
LOOPBACK = "127.0.0.1"
# TorchServe's own pattern for addresses has no room for IPv6.
HOST_PATTERN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
REDIS_ADDRESS = re.compile(r"rediss?://[^/?]+(/[0-9]+)?(\?.*)?")


@dataclass(frozen=True)
class Option:
    """One setting: its field of Settings, its default, its help, and how to read its text."""

    field: str
    default: str
    help: str
    parse: Callable[[str], Any]

    @property
    def flag(self) -> str:
        """The command-line option, such as --run-dir."""
        return "--" + self.field.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable, such as NEUROQ_RUN_DIR."""
        return "NEUROQ_" + self.field.upper()


@dataclass(frozen=True)
class Settings:
    """Where one instance lives and listens. Paths are absolute."""

    run_dir: Path
    model_store: Path
    checkpoint_path: str  # may also be s3:// or gs://
    profile: str
    host: str
    port: int
    management_port: int
    metrics_port: int
    grpc_port: int
    grpc_management_port: int
    session_store: str = ""  # a Redis address, which may hold a password; empty: SQLite
    session_store_away: str = "answer"
    training: bool = False
    training_memory: int = 4  # GiB
    training_minutes: int = 1440
    archive_path: str = ""  # a ready archive: a path, s3:// or gs://
    remote_store: str = ""  # where the archives come from, when the model store is in an object store

    @property
    def is_mirrored(self) -> bool:
        """Tell whether the archives are brought from elsewhere, so that nothing is packaged here."""
        return bool(self.archive_path or self.remote_store)

    @property
    def addresses(self) -> dict[str, str]:
        """The addresses a client on this machine uses, by interface."""
        return {
            "inference": f"http://{self.reachable_host}:{self.port}",
            "management": f"http://{LOOPBACK}:{self.management_port}",
            "metrics": f"http://{LOOPBACK}:{self.metrics_port}",
            "grpc_inference": f"{LOOPBACK}:{self.grpc_port}",
            "grpc_management": f"{LOOPBACK}:{self.grpc_management_port}",
        }

    @property
    def reachable_host(self) -> str:
        """The host to call: "every interface" is an address to listen at, not one to call."""
        return LOOPBACK if self.host == "0.0.0.0" else self.host

    @property
    def archive(self) -> Path:
        """The model archive that the server loads at start."""
        return self.model_store / "neuroq.mar"

    @property
    def in_flight_path(self) -> Path:
        """The file that workers hold while they answer somebody (server/drain.py)."""
        return self.run_dir / "in-flight.lock"

    @property
    def log_dir(self) -> Path:
        """The folder of this instance's logs."""
        return self.run_dir / "logs"


@dataclass(frozen=True)
class Mode:
    """How a server is started: with its logs on this process's output, with a proxy that holds its token."""

    in_foreground: bool = False
    is_proxied: bool = False


BACKGROUND = Mode()


def _text(text: str) -> str:
    return text


def _object(text: str) -> str:
    if is_remote(text):
        parse_object(text)
    return text


def _folder(text: str) -> str:
    if is_remote(text):
        parse_folder(text)
    return text


def _profile(text: str) -> str:
    if text not in PROFILES:
        raise ValueError(f"must be one of {', '.join(PROFILES)}")
    return text


def parse_host(text: str) -> str:
    """Return a host name or IPv4 address; raises ValueError."""
    if not HOST_PATTERN.fullmatch(text):
        raise ValueError("must be a host name or an IPv4 address")
    return text


def _switch(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


def _session_store(text: str) -> str:
    if text and not REDIS_ADDRESS.fullmatch(text):  # not shown: it may hold a password
        place = "--session-store (NEUROQ_SESSION_STORE)"
        raise SettingsError(f"{place} must be redis://HOST:PORT/DB or rediss://…, or empty for SQLite")
    return text


def _session_store_away(text: str) -> str:
    if text not in ("answer", "refuse"):
        raise ValueError("must be answer or refuse")
    return text


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text) or int(text) < 1:
        raise ValueError("must be a whole number from 1 to 999999")
    return int(text)


def parse_port(text: str) -> int:
    """Return a port; raises ValueError."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise ValueError("must be a whole number from 1 to 65535")
    return int(text)


OPTIONS = (
    Option("run_dir", "run", "Folder of this instance's state, logs and sessions.", _text),
    Option("model_store", "model_store", "Folder of the model archives; s3:// and gs://, too.", _folder),
    Option("checkpoint_path", DEFAULT_CHECKPOINT, "The trained checkpoint; s3:// and gs://, too.", _object),
    Option("archive_path", "", "Serve this archive as it is; s3:// and gs://, too.", _object),
    Option("profile", "continuous", "continuous (one batching worker) or workers (several).", _profile),
    Option("host", LOOPBACK, "Where the inference REST API listens; all else stays on loopback.", parse_host),
    Option("port", "8080", "Inference REST API.", parse_port),
    Option("management_port", "8081", "Management REST API.", parse_port),
    Option("metrics_port", "8082", "Metrics REST API.", parse_port),
    Option("grpc_port", "7070", "Inference gRPC API.", parse_port),
    Option("grpc_management_port", "7071", "Management gRPC API.", parse_port),
    Option("training", "false", "Whether `train` requests start training jobs.", _switch),
    Option("training_memory", "4", "GiB that a process of a training job may take.", _count),
    Option("training_minutes", "1440", "Wall time of a training job, its release included.", _count),
    Option("session_store", "", "Where conversations are kept: redis://… or, empty, SQLite.", _session_store),
    Option(
        "session_store_away",
        "answer",
        "Requests without history while Redis is away: answer or refuse them.",
        _session_store_away,
    ),
)
PORT_OPTIONS = tuple(option for option in OPTIONS if option.parse is parse_port)


def read_settings(
    options: Mapping[str, str | None],
    environment: Mapping[str, str],
    root: Path,
    folder: Path | None = None,
) -> Settings:
    """Return the settings. Raises SettingsError, one line.

    A relative path that is given starts at `folder`, where the user stands (default: at `root`), a default
    place at `root`.
    """
    values = {option.field: option_value(option, options, environment) for option in OPTIONS}
    starts = {option.field: folder or root for option in OPTIONS if _given(option, options, environment)[0]}
    values["run_dir"] = Path(starts.get("run_dir", root), values["run_dir"])
    for name in ("checkpoint_path", "archive_path"):
        if values[name] and not is_remote(values[name]):
            values[name] = str(Path(starts.get(name, root), values[name]))
    values |= _store(values, starts.get("model_store", root))
    _require_distinct_ports(values)
    return Settings(**values)


def _store(values: Mapping[str, Any], start: Path) -> dict[str, Any]:
    """Return the folder that TorchServe gets, and where its archives come from if not from there."""
    store, archive = values["model_store"], values["archive_path"]
    if archive and is_remote(store):
        raise SettingsError(f"--archive-path {archive} and --model-store {store} exclude each other")
    if archive or is_remote(store):
        folder = values["run_dir"] / "model_store"
        return {"model_store": folder, "remote_store": store if is_remote(store) else ""}
    return {"model_store": Path(start, store)}


def option_value(option: Option, options: Mapping[str, str | None], environment: Mapping[str, str]) -> Any:
    """Return one setting. Raises SettingsError, one line, that names where a bad value came from."""
    given, source = _given(option, options, environment)
    try:
        return option.parse(given or option.default)
    except ValueError as error:
        raise SettingsError(f"{source} {error}, not {given!r}") from error


def _given(
    option: Option, options: Mapping[str, str | None], environment: Mapping[str, str]
) -> tuple[str | None, str]:
    """Return what was given for a setting, if anything, and where."""
    if given := options.get(option.field):
        return given, option.flag
    return environment.get(option.variable), option.variable


def _require_distinct_ports(values: Mapping[str, Any]) -> None:
    seen: dict[int, Option] = {}
    for option in PORT_OPTIONS:
        port = values[option.field]
        if port in seen:
            raise SettingsError(f"{seen[port].flag} and {option.flag} are both {port}; each needs its own")
        seen[port] = option
