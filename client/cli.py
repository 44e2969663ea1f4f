"""The commands of `./neuroq`. Errors are one line on standard error, never a traceback."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import click

from client.api import NeuroQError
from client.canary import take_back_killed
from client.chat import chat as run_chat
from client.foreground import serve_in_foreground as run_in_foreground
from client.modules import become_module
from client.options import settings_from, settings_options
from client.quality import Measures
from client.release import release as run_release
from client.rollback import rollback as run_rollback
from client.serving import serve as run_serve
from client.session import new_session_id, running_client
from client.terminal import STANDARD_INPUT, Text, prepare_streams, read_all, shows_unicode
from server.errors import ServerError
from server.jobs import Job, bury_killed_jobs, latest_job, stop_job
from server.process import stop as stop_server
from server.settings import Settings
from server.status import Status, read_status
from storage.errors import StorageError

EXIT_INTERRUPTED = 130
SAMPLING = (
    "max_length",
    "temperature",
    "temp_min",
    "temp_max",
    "top_k",
    "top_p",
    "repetition_penalty",
    "seed",
    "stop",
)
Files = tuple[str, ...]
PASS_THROUGH = {"ignore_unknown_options": True, "help_option_names": []}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Train a small Japanese language model on your own text, serve it, talk with it."""


@cli.command()
@settings_options
@click.option("--version", default="1.0", show_default=True, help="Version to package as.")
@click.option(
    "--foreground",
    is_flag=True,
    help="Stay, with the logs, until SIGTERM or Ctrl-C; then answer what is in flight. For containers.",
)
@click.option(
    "--grace",
    type=click.FloatRange(0, 3600),
    default=30,
    metavar="SECONDS",
    envvar="NEUROQ_GRACE",
    help="With --foreground: how long requests in flight may take to end [NEUROQ_GRACE; default 30].",
)
def serve(version: str, foreground: bool, grace: float, **options: str | None) -> None:
    """Train if there is no checkpoint, package, start TorchServe, show one exchange."""
    settings = settings_from(options)
    _take_away(settings)
    if foreground:
        run_in_foreground(settings, version, grace)
    else:
        run_serve(settings, version)


@cli.command()
@settings_options
def stop(**options: str | None) -> None:
    """Stop the server and its workers, and the training job that runs."""
    settings = settings_from(options)
    stop_job(settings.run_dir)
    was_running = stop_server(settings.run_dir)
    _take_away(settings)
    click.echo("Stopped." if was_running else "Not running.")


@cli.command()
@settings_options
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(as_json: bool, **options: str | None) -> None:
    """Tell what runs. Exit code 0: ready, 1: running but not ready, 3: not running."""
    settings = settings_from(options)
    _take_away(settings)
    job, found = latest_job(settings.run_dir), read_status(settings)
    if as_json:
        record = {**found.record(), "training_job": asdict(job) if job else None}
        click.echo(_json(record))
    else:
        _show_status(found)
        if job:
            click.echo(f"  {'training job':16} {_job_in_words(job)}")
    sys.exit(found.exit_code)


@cli.command()
@click.option("--stop", "stops", is_flag=True, help="End it; nothing of it is left.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@settings_options
def job(stops: bool, as_json: bool, **options: str | None) -> None:
    """Tell how the newest training job goes, or stop it."""
    settings = settings_from(options)
    if stops and not stop_job(settings.run_dir):
        raise ServerError("no training job runs")
    _take_away(settings)
    found = latest_job(settings.run_dir)
    if as_json:
        click.echo(_json(asdict(found) if found else None))
    else:
        click.echo(f"Training job {_job_in_words(found)}" if found else "There was no training job.")


@cli.command()
@click.argument("prompt", type=Text())
@click.option("--max-length", type=int, help="New tokens at most.")
@click.option("--temperature", type=float)
@click.option("--temp-min", type=float)
@click.option("--temp-max", type=float)
@click.option("--top-k", type=int)
@click.option("--top-p", type=float)
@click.option("--repetition-penalty", type=float)
@click.option("--seed", type=int, help="The same seed gives the same text.")
@click.option("--stop", multiple=True, type=Text(), help="End before this text; may be given several times.")
@click.option("--session-id", type=Text(), help="Go on with this conversation; without it, a new one.")
@click.option("--json", "as_json", is_flag=True, help="The whole reply.")
@settings_options
def generate(prompt: str, as_json: bool, session_id: str | None, **options: Any) -> None:
    """Print the running server's reply to PROMPT, - for standard input."""
    if prompt == STANDARD_INPUT:
        prompt = read_all(sys.stdin)
    given = {name: options.pop(name) for name in SAMPLING}
    given = {name: value for name, value in given.items() if value not in (None, ())}  # the server's defaults
    with running_client(settings_from(options)) as client:
        reply = client.generate(prompt, session_id=session_id or new_session_id(), **given)
    click.echo(_json(reply) if as_json else reply["generated"])


@cli.command()
@click.option("--session-id", type=Text(), help="Go on with this conversation; without it, a new one.")
@settings_options
def chat(session_id: str | None, **options: str | None) -> None:
    """Talk with the running server: /clear forgets, /quit or Ctrl-D ends."""
    run_chat(settings_from(options), session_id)


@cli.command()
@click.option("--version", help="Default: the next whole one.")
@click.option(
    "--text",
    "texts",
    multiple=True,
    type=click.Path(exists=True),
    help="Held-out text to compare on; may be repeated. Default: what both trainings held out.",
)
@click.option(
    "--answers",
    multiple=True,
    type=click.Path(exists=True),
    help="Questions and answers: no fewer replies may fit. Without --text they are the text to compare on.",
)
@click.option(
    "--foreign",
    multiple=True,
    type=click.Path(exists=True),
    help="Questions that should be refused: no fewer may be.",
)
@settings_options
def release(version: str | None, texts: Files, answers: Files, foreign: Files, **options: str | None) -> None:
    """Check a checkpoint beside the running version, and promote it unless it is worse."""
    run_release(settings_from(options), version, Measures(texts, answers, foreign))


@cli.command()
@settings_options
def rollback(**options: str | None) -> None:
    """Serve the version before the last release again."""
    settings = settings_from(options)
    _take_away(settings)
    run_rollback(settings)


def _pass_through(name: str, module: str, help_text: str) -> None:
    """Add a command that becomes `python -m MODULE` with all its arguments, --help included."""

    @cli.command(name, context_settings=PASS_THROUGH, help=help_text)
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def command(arguments: tuple[str, ...]) -> None:
        become_module(module, arguments)


_pass_through("train", "train", "Train on your text, offline.")
_pass_through("corpus", "train.ready_text", "Fetch real Japanese text to train on, with its licences.")
_pass_through("evaluate", "train.evaluate", "Bits per character of a checkpoint on any text.")
_pass_through("package", "train.package", "Make model_store/neuroq.mar from a checkpoint.")
_pass_through("test", "pytest", "Run the tests.")


def main(run: Callable[..., Any] = cli) -> None:
    """Run the command line; every error that is foreseen ends in one line and an exit code."""
    prepare_streams()
    try:
        sys.exit(run(prog_name="neuroq", standalone_mode=False) or 0)
    except click.Abort:
        _fail("interrupted", EXIT_INTERRUPTED)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code)
    except ServerError as error:
        _fail(str(error), error.exit_code)
    except (NeuroQError, StorageError, OSError) as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        _fail("interrupted", EXIT_INTERRUPTED)


def _fail(message: str, code: int) -> None:
    click.echo(f"neuroq: {message}", err=True)
    sys.exit(code)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=not shows_unicode(sys.stdout), indent=2)


def _take_away(settings: Settings) -> None:
    """Take away what a killed training job or release has left, if there is anything."""
    bury_killed_jobs(settings.run_dir)
    take_back_killed(settings, waits=False)


def _job_in_words(job: Job) -> str:
    words = f"{job.id}: {job.state}"
    if job.is_active:
        words += f", {job.progress:.0%} (epoch {job.epoch})"
    if job.version:
        words += f" as version {job.version}"
    return words + (f": {job.error}" if job.error else "")


def _show_status(found: Status) -> None:
    if not found.running:
        click.echo(f"Not running (run folder {found.run_dir}).")
        return
    click.echo(f"{'Ready' if found.ready else 'Running, not ready'}: process {found.pid}, {found.run_dir}")
    click.echo(f"  {'version':16} {found.version} of {', '.join(found.versions) or 'none'}")
    click.echo(f"  {'profile':16} {found.profile}, since {found.started_at}")
    for name, address in (found.addresses or {}).items():
        click.echo(f"  {name:16} {address}")
    click.echo(f"  {'token':16} {found.token}\n  {'management token':16} {found.management_token}")
