"""What runs from a run folder, for people and programs. The API key is left out on purpose."""

from dataclasses import asdict, dataclass

from server.errors import ServerError
from server.keys import current_keys
from server.readiness import MODEL, probe
from server.settings import Settings
from server.state import ServerState, read_state

EXIT_READY, EXIT_NOT_READY, EXIT_NOT_RUNNING = 0, 1, 3


@dataclass(frozen=True)
class Status:
    """The keys of `status --json`, in their order."""

    running: bool
    ready: bool
    run_dir: str
    pid: int | None = None
    model: str = MODEL
    version: str | None = None
    versions: tuple[str, ...] = ()
    profile: str | None = None
    addresses: dict[str, str] | None = None
    token: str | None = None
    management_token: str | None = None
    started_at: str | None = None

    @property
    def exit_code(self) -> int:
        """0 ready, 1 running but not ready, 3 not running."""
        if not self.running:
            return EXIT_NOT_RUNNING
        return EXIT_READY if self.ready else EXIT_NOT_READY

    def record(self) -> dict[str, object]:
        """Return the status as JSON's types."""
        return {**asdict(self), "versions": list(self.versions)}


def read_status(settings: Settings) -> Status:
    """Return the status of the server that runs from the settings' run folder."""
    state = read_state(settings.run_dir)
    if state is None or not state.is_alive:
        return Status(running=False, ready=False, run_dir=str(settings.run_dir))
    health = probe(state)
    token, management_token = _tokens(state)
    return Status(
        running=True,
        ready=health.is_ready,
        run_dir=str(settings.run_dir),
        pid=state.pid,
        version=health.version,
        versions=health.versions,
        profile=state.settings.profile,
        addresses=state.settings.addresses,
        token=token,
        management_token=management_token,
        started_at=state.started_at,
    )


def _tokens(state: ServerState) -> tuple[str | None, str | None]:
    try:
        keys = current_keys(state)
    except ServerError:  # still starting
        return None, None
    return keys.inference.value, keys.management.value
