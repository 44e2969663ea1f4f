"""`./neuroq rollback`: the version before the last release is the default again, now and after a restart."""

import click

from client.serving import only_one
from server.archive import require_archive
from server.errors import ServerError
from server.management import Management
from server.mirror import fetch_store, upload_releases
from server.releases import Release, read_releases, write_releases
from server.settings import Settings
from server.state import read_state


def rollback(settings: Settings) -> None:
    """Change current and previous version over. Raises ServerError when there is no previous one."""
    state = read_state(settings.run_dir)
    is_running = state is not None and state.is_alive
    if state and is_running:
        settings = state.settings
    store = settings.model_store
    with only_one(settings.run_dir):
        fetch_store(settings)
        releases = read_releases(store)
        if releases is None:
            raise ServerError("there was no release, so there is no version to go back to")
        releases = releases.rolled_back()
        require_archive(store / releases.current.archive)
        if state and is_running:
            _serve(releases.current, Management(state))
        write_releases(store, releases)
        upload_releases(settings)
    when = "is the default again" if is_running else "is what the next ./neuroq serve starts with"
    click.echo(f"Version {releases.current.version} {when}.")


def _serve(release: Release, management: Management) -> None:
    """Make a version the default, registering it where it is not."""
    if release.version not in management.versions():
        num_workers = management.num_workers(management.default_version())
        management.register(release.archive, num_workers=num_workers)
    management.wait_until_ready(release.version)
    management.set_default(release.version)
