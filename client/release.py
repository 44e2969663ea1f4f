"""`./neuroq release`: a new version beside the old one, checked, then promoted or taken away again.

The checks compare it with the version that is the default now, on this machine, within one run:
- quality: bits per character of both checkpoints on text that neither was trained on;
- latency: the same short replies from both, in turns;
- sanity: fixed prompts get Japanese text;
- answers: questions of one's own, if they are given, get the replies that belong to them.
What fails one of them is unregistered and its archive removed; clients notice nothing of it.
"""

import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import click

from client.api import NeuroQClient
from client.canary import (
    REFERENCE,
    Trial,
    canary,
    take_back,
    trial_folder,
    withdraw,
    withdraw_references,
)
from client.checks import Check, Score, check_answers, check_latency, check_quality, check_sanity, table
from client.modules import require_train
from client.quality import Measures, measure_all
from client.serving import only_one
from client.session import version_client
from client.trial import require_served, sample_replies, time_both
from server.archive import archive_checkpoint, archive_version
from server.errors import ServerError, SettingsError
from server.management import Management
from server.mirror import fetch_store, upload_archives, upload_releases
from server.readiness import MODEL
from server.releases import Release, Releases, read_releases, write_releases
from server.settings import Settings
from server.state import running_state

VERSION = re.compile(r"[0-9]+(\.[0-9]+)*")
NUM_ATTEMPTS = 3


class RefusedError(ServerError):
    """The checks found the new version worse than the current one."""


def release(
    settings: Settings,
    version: str | None,
    measures: Measures,
    on_promoted: Callable[[str], None] = lambda _: None,
) -> None:
    """Release a checkpoint on the running server. Raises RefusedError, ServerError.

    `on_promoted` is told the version as soon as it is the default.
    """
    require_train()
    state = running_state(settings.run_dir)
    settings = replace(state.settings, checkpoint_path=settings.checkpoint_path)
    management = Management(state)
    with only_one(settings.run_dir):
        take_back(settings, management)  # what a killed release has left
        fetch_store(settings)
        releases = _current_releases(settings, management)
        candidate = _candidate(version, settings, management)
        trial = Trial(releases.current, candidate)
        with canary(trial, settings, management) as folder:
            checks = _checks(trial, settings, management, measures, folder)
            click.echo(table(checks, releases.current.version, candidate.version))
            _require_passed(checks, releases.current, candidate)
            _promote(releases, candidate, settings, management)
            on_promoted(candidate.version)
        upload_releases(settings)  # should it fail, this server keeps what it has promoted
        if releases.previous:
            withdraw(releases.previous.version, management)


def next_version(taken: Sequence[str]) -> str:
    """Return the first whole version, such as 3.0, that is greater than all these."""
    wholes = [int(version.partition(".")[0]) for version in taken if VERSION.fullmatch(version)]
    return f"{max(wholes, default=0) + 1}.0"


def _current_releases(settings: Settings, management: Management) -> Releases:
    """Return what is released now: by releases.json, before the first release neuroq.mar."""
    releases = read_releases(settings.model_store)
    if releases is None:
        releases = Releases(Release(archive_version(settings.archive), settings.archive.name))
    default = management.default_version()
    if default != releases.current.version:
        raise ServerError(
            f"the server's default is version {default}, {releases.current.archive} is version "
            f"{releases.current.version}; restart the server first"
        )
    archive = settings.model_store / releases.current.archive
    with version_client(settings, default) as client:
        require_served(client, archive_checkpoint(archive), archive.name)
    return releases


def _candidate(version: str | None, settings: Settings, management: Management) -> Release:
    packaged = [path.stem.removeprefix(f"{MODEL}-") for path in settings.model_store.glob(f"{MODEL}-*.mar")]
    taken = [*management.versions(), *packaged]
    version = version or next_version(taken)
    if not VERSION.fullmatch(version):
        raise SettingsError(f"--version must be numbers with dots such as 2.0, not {version!r}")
    if version in taken:
        raise SettingsError(f"--version {version} exists already; choose another")
    return Release(version, f"{MODEL}-{version}.mar")


def _checks(
    trial: Trial, settings: Settings, management: Management, measures: Measures, folder: Path
) -> list[Check]:
    current, candidate = trial.current, trial.candidate
    archives = [settings.model_store / each.archive for each in (current, candidate)]
    before, after = measure_all(archives, measures, folder)
    with ExitStack() as stack:
        stack.enter_context(_reference(current, management))
        reference = stack.enter_context(version_client(settings, current.version, REFERENCE))
        client = stack.enter_context(version_client(settings, candidate.version))
        replies = sample_replies(client)
        checks = [check_quality(before, after), check_sanity(sample_replies(reference), replies)]
        if before.answers and after.answers:
            checks.append(check_answers(before.answers, after.answers))
        if None not in replies:  # what answers nothing has no latency
            checks.append(_check_latency(reference, client, before, after))
    return checks


def _check_latency(reference: NeuroQClient, client: NeuroQClient, before: Score, after: Score) -> Check:
    """Measure again what looks too slow: another program on the machine passes, a slow model stays slow."""
    for attempt in range(NUM_ATTEMPTS):
        if attempt:
            time.sleep(1)
        check = check_latency(time_both(reference, client), before, after)
        if check.has_passed:
            break
    return check


@contextmanager
def _reference(current: Release, management: Management) -> Iterator[None]:
    """Load the current version once more, away from its clients."""
    try:
        management.register(current.archive, REFERENCE)
        yield
    finally:
        with suppress(ServerError):
            withdraw_references(management)


def _require_passed(checks: Sequence[Check], current: Release, candidate: Release) -> None:
    failed = [check.name for check in checks if not check.has_passed]
    if failed:
        raise RefusedError(
            f"version {candidate.version} is refused ({', '.join(failed)}); version {current.version} "
            "serves on, and nothing has changed for its clients"
        )


def _promote(releases: Releases, candidate: Release, settings: Settings, management: Management) -> None:
    """Make the candidate the default and write it down, for the next start, too."""
    current = _kept(releases.current, settings)
    promoted = Releases(current).promoted(candidate)
    upload_archives(settings, promoted)
    num_workers = management.num_workers(current.version)
    if num_workers > 1:  # the profile `workers`
        management.scale(candidate.version, num_workers)
    management.set_default(candidate.version)
    write_releases(settings.model_store, promoted)
    click.echo(
        f"Version {candidate.version} is the default now; ./neuroq rollback goes back to {current.version}."
    )


def _kept(current: Release, settings: Settings) -> Release:
    """Return the current release under a name of its own: packaging writes to neuroq.mar again."""
    kept = replace(current, archive=f"{MODEL}-{current.version}.mar")
    if kept != current:
        copy = trial_folder(settings.run_dir) / kept.archive
        shutil.copyfile(settings.model_store / current.archive, copy)
        shutil.move(copy, settings.model_store / copy.name)
    return kept
