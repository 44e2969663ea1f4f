"""The way from the command line to the running server: its address and a good token."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from client.api import NeuroQClient
from server.keys import current_keys
from server.settings import Settings
from server.state import running_state


@contextmanager
def running_client(settings: Settings) -> Iterator[NeuroQClient]:
    """Give a client of the server that runs from the settings' run folder."""
    state = running_state(settings.run_dir)
    token = current_keys(state).inference.value
    with NeuroQClient(state.settings.addresses["inference"], token) as client:
        yield client


def new_session_id() -> str:
    """Return a name that no other conversation has."""
    return f"cli-{uuid.uuid4().hex[:12]}"
