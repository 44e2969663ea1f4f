"""`./neuroq serve`: from nothing, or from a checkpoint, to a server that has shown one exchange."""

import fcntl
import hashlib
import json
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from client.api import NeuroQError
from client.modules import module_output, require_train, run_module
from client.options import ROOT
from client.session import running_client
from server.archive import archive_checkpoint
from server.errors import ServerError
from server.logs import LogMark
from server.mirror import fetch_archives
from server.ports import require_free_ports
from server.process import start, stop, wait_until_ready
from server.releases import Release, read_releases
from server.settings import BACKGROUND, DEFAULT_CHECKPOINT, SHIPPED_CHECKPOINT, Mode, Settings
from server.state import ServerState, read_state
from server.status import Status, read_status
from storage.location import is_remote

WELCOME_PROMPT, WELCOME_SESSION = "こんにちは", "welcome"


def serve(settings: Settings, version: str) -> None:
    """Package where needed, start, wait, and show what to do next."""
    with only_one(settings.run_dir):
        if _is_running(settings):
            click.echo(f"Already running from {settings.run_dir}.")
        else:
            start_and_wait(settings, prepare(settings, version))
    show_exchange(settings)
    show_next_steps(read_status(settings))


def prepare(settings: Settings, version: str) -> str | None:
    """See that there is something to serve; return its version if it is a release."""
    if settings.training:
        require_train()
    require_free_ports(settings)  # now, not after minutes of training
    if settings.is_mirrored:
        click.echo(f"Fetching {settings.archive_path or settings.remote_store} …", err=True)
        fetch_archives(settings)
    releases = read_releases(settings.model_store)
    if releases:
        tell_release(settings, releases.current)
        return releases.current.version
    if not settings.is_mirrored:
        make_archive(settings, version)
    return None


def make_archive(settings: Settings, version: str) -> None:
    """Bring MODEL_STORE/neuroq.mar up to date; without train/ there only is what is already packaged."""
    checkpoint = settings.checkpoint_path
    if not (ROOT / "train").is_dir():
        if is_remote(checkpoint):
            raise ServerError(f"no folder train/ to package {checkpoint} with; serve an --archive-path")
        if not settings.archive.is_file():
            raise ServerError(f"nothing to serve: no folder train/ to train with, and no {settings.archive}")
        return
    if is_remote(checkpoint):
        click.echo(f"Fetching {checkpoint} …", err=True)
    else:
        checkpoint = str(_whole_checkpoint(Path(checkpoint)))
    settings.model_store.mkdir(parents=True, exist_ok=True)
    places = ["--checkpoint_path", checkpoint, "--model_store", str(settings.model_store)]
    options = ["--profile", settings.profile, "--version", version, "--if-changed"]
    click.echo(module_output("train.package", *places, *options), nl=False)


def _whole_checkpoint(checkpoint: Path) -> Path:
    """Return the checkpoint to serve, whole: the shipped one while there is none at the default path."""
    interrupted = checkpoint.with_suffix(".state.pt")  # train removes it when it is done
    if interrupted.exists():
        click.echo(f"Training was interrupted: going on with it. (Without {interrupted} it would be served.)")
        run_module("train", "--resume", "--checkpoint_path", str(checkpoint))
    elif not checkpoint.exists():
        if checkpoint != ROOT / DEFAULT_CHECKPOINT:
            raise ServerError(f"there is no checkpoint at {checkpoint}")
        checkpoint = ROOT / SHIPPED_CHECKPOINT
        click.echo(f"Serving the model that NeuroQ ships ({SHIPPED_CHECKPOINT}).")
    return checkpoint


def tell_release(settings: Settings, release: Release) -> None:
    """Say what is served: a release stays until the next one, whatever the checkpoint has become."""
    checkpoint = Path(settings.checkpoint_path)
    line = f"Serving release {release.version} ({release.archive})."
    if checkpoint.is_file():
        digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
        if digest != archive_checkpoint(settings.model_store / release.archive):
            line += f" {checkpoint} holds another model: ./neuroq release checks it and brings it in."
    click.echo(line)


def show_exchange(settings: Settings) -> None:
    """Ask the model one thing, as a user would, and forget it again."""
    try:
        with running_client(settings) as client:
            client.clear_session(WELCOME_SESSION)
            reply = client.generate(WELCOME_PROMPT, session_id=WELCOME_SESSION)
            client.clear_session(WELCOME_SESSION)
    except NeuroQError as error:
        raise ServerError(f"the server runs but its first reply failed: {error}") from error
    click.echo(f"\n  あなた> {WELCOME_PROMPT}\n  NeuroQ> {reply['generated']}\n")


def show_next_steps(status: Status) -> None:
    """Print the addresses, the token, a curl line that works as it is, and the next commands."""
    for name, address in (status.addresses or {}).items():
        click.echo(f"  {name:16} {address}")
    click.echo(f"  {'token':16} {status.token}\n\n{curl_line(status)}\n")
    click.echo("Next: ./neuroq chat · ./neuroq generate TEXT · ./neuroq status · ./neuroq stop")


def curl_line(status: Status) -> str:
    """Return a shell command that asks the running server."""
    address = (status.addresses or {})["inference"]
    body = json.dumps({"input": {"action": "generate", "prompt": WELCOME_PROMPT}}, ensure_ascii=False)
    words = ["curl", "-s", "-X", "POST", f"{address}/predictions/neuroq"]
    words += ["-H", f"Authorization: Bearer {status.token}", "-H", "Content-Type: application/json"]
    return shlex.join([*words, "-d", body])


def _is_running(settings: Settings) -> bool:
    state = read_state(settings.run_dir)
    return state is not None and state.is_alive


def start_and_wait(
    settings: Settings, released_version: str | None, mode: Mode = BACKGROUND
) -> tuple[ServerState, LogMark]:
    """Start TorchServe and return when it answers; whatever comes between stops it again."""
    state, mark = start(settings, ROOT, mode)
    try:
        click.echo("Starting TorchServe and loading the model ", nl=False, err=True)
        health = wait_until_ready(state, mark, lambda: click.echo(".", nl=False, err=True))
        if released_version not in (None, health.version):  # its archive failed, the previous one took over
            raise ServerError(f"TorchServe cannot load release {released_version}:\n{mark.explanation()}")
        click.echo(" ready.", err=True)
    except BaseException:  # Ctrl-C too: half a server is no use to anybody
        click.echo("", err=True)
        stop(settings.run_dir)
        raise
    return state, mark


@contextmanager
def only_one(run_dir: Path, *, waits: bool = True) -> Iterator[bool]:
    """Let one command at a time change what runs from a run folder; the next finds what it did.

    Gives true; false when another one is at it and this one does not wait.
    """
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = os.open(run_dir, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not waits:
                yield False
                return
            click.echo(f"Waiting for another call in {run_dir} …", err=True)
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield True
    finally:
        os.close(folder)
