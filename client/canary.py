"""A new version beside the current one, until it is promoted or taken back.

RUN_DIR/trial says what is on trial and holds what that needs; whoever finds it when no release runs takes
back what a killed one has left.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from client.modules import module_output
from client.serving import only_one
from server.errors import ServerError
from server.management import Management
from server.readiness import MODEL
from server.releases import Release, read_releases
from server.settings import Settings
from server.state import read_state

REFERENCE = f"{MODEL}-reference"  # the current version once more, where no client asks it
RECORD = "trial.json"


@dataclass(frozen=True)
class Trial:
    """What is the default, and what wants to replace it."""

    current: Release
    candidate: Release


def trial_folder(run_dir: Path) -> Path:
    """Return where the files of the release that runs are."""
    return run_dir / "trial"


@contextmanager
def canary(trial: Trial, settings: Settings, management: Management) -> Iterator[Path]:
    """Package and register the candidate; whatever breaks off the block takes everything back.

    Gives the folder for other temporary files.
    """
    folder = trial_folder(settings.run_dir)
    folder.mkdir()
    try:
        (folder / RECORD).write_text(json.dumps(asdict(trial)), encoding="utf-8")
        archive = folder / trial.candidate.archive
        _package(trial.candidate.version, archive, settings)
        shutil.move(archive, settings.model_store / archive.name)
        management.register(archive.name)
        click.echo(f"Version {trial.candidate.version} runs beside the default; checking …")
        yield folder
    except BaseException:
        take_back(settings, management)
        raise
    shutil.rmtree(folder)


def take_back(settings: Settings, management: Management | None) -> None:
    """Undo a release that has not come to its end; nothing when there is none. Needs the run folder's lock.

    Without a server only files are left. What cannot be unregistered now stays for the next time.
    """
    folder = trial_folder(settings.run_dir)
    trial = _read(folder)
    is_undone = trial is None or _is_promoted(trial, settings) or _undo(trial, settings, management)
    if is_undone:
        shutil.rmtree(folder, ignore_errors=True)


def take_back_killed(settings: Settings, *, waits: bool = True) -> None:
    """Undo what a killed release has left, unless one runs: then wait for its end, or leave it alone."""
    if not trial_folder(settings.run_dir).exists():
        return
    with only_one(settings.run_dir, waits=waits) as is_mine:
        if is_mine:
            state = read_state(settings.run_dir)
            is_running = state is not None and state.is_alive
            management = Management(state) if state and is_running else None
            take_back(state.settings if state and is_running else settings, management)


def withdraw(version: str, management: Management) -> bool:
    """Unregister a version when nobody is being answered by it; says so when it has to stay.

    Returns whether that is settled; not when the server does not do what it is told.
    """
    try:
        if version not in management.versions():
            return True
        if management.wait_until_idle(version):
            management.unregister(version)
        else:
            click.echo(f"Version {version} is still being asked by its number; it stays until a restart.")
    except ServerError as error:
        click.echo(f"Version {version} could not be unregistered: {error}", err=True)
        return False
    return True


def withdraw_references(management: Management) -> None:
    """Unregister every copy that was loaded for a comparison. Raises ServerError."""
    for version in management.versions(REFERENCE):
        management.unregister(version, REFERENCE)


def _package(version: str, archive: Path, settings: Settings) -> None:
    places = ["--checkpoint_path", settings.checkpoint_path, "--output", str(archive)]
    module_output("train.package", *places, "--profile", settings.profile, "--version", version)


def _undo(trial: Trial, settings: Settings, management: Management | None) -> bool:
    """Tell whether the server knows nothing of the candidate any more; its files are gone in any case."""
    is_withdrawn = management is None or _withdraw_all(trial, management)
    (settings.model_store / trial.candidate.archive).unlink(missing_ok=True)
    return is_withdrawn


def _withdraw_all(trial: Trial, management: Management) -> bool:
    try:
        if management.default_version() == trial.candidate.version:
            management.set_default(trial.current.version)
        withdraw_references(management)
    except ServerError as error:
        click.echo(f"A release could not be taken back: {error}", err=True)
        return False
    return withdraw(trial.candidate.version, management)


def _is_promoted(trial: Trial, settings: Settings) -> bool:
    releases = read_releases(settings.model_store)
    return releases is not None and releases.current == trial.candidate


def _read(folder: Path) -> Trial | None:
    """Return what is on trial; None also for a release that was killed before it wrote that down."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return Trial(Release(**record["current"]), Release(**record["candidate"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
