"""The way from the command line to the running server: its address and a good token."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from client.api import PATH, NeuroQClient
from server.keys import current_keys
from server.readiness import MODEL
from server.settings import Settings
from server.state import running_state


@contextmanager
def running_client(settings: Settings, path: str = PATH) -> Iterator[NeuroQClient]:
    """Give a client of the server that runs from the settings' run folder."""
    state = running_state(settings.run_dir)
    token = current_keys(state).inference.value
    with NeuroQClient(state.settings.addresses["inference"], token, path=path) as client:
        yield client


@contextmanager
def version_client(settings: Settings, version: str, name: str = MODEL) -> Iterator[NeuroQClient]:
    """Give a client that asks one version by its path, whatever the default is."""
    with running_client(settings, f"/predictions/{name}/{version}") as client:
        yield client


def new_session_id() -> str:
    """Return a name that no other conversation has."""
    return f"cli-{uuid.uuid4().hex[:12]}"
