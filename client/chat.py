"""A conversation in the terminal, or with lines from a pipe.

`./neuroq chat`; /clear forgets the conversation, /quit or Ctrl-D ends it.
"""

import sys
from collections.abc import Iterator
from typing import Any, TextIO

import click

from client.api import NeuroQError
from client.session import new_session_id, running_client
from client.terminal import checked
from server.settings import Settings

USER, REPLY = "あなた> ", "NeuroQ> "


def chat(settings: Settings, session_id: str | None) -> None:
    """Talk until the input ends."""
    session_id = session_id or new_session_id()
    with running_client(settings):
        pass  # say now, not after the first line, that no server runs
    if sys.stdin.isatty():
        click.echo(f"/clear forgets, /quit ends; --session-id {session_id} goes on later")
    for number, line in enumerate(read_lines(sys.stdin), 1):
        if line == "/quit":
            break
        if checked(line, f"line {number} of standard input"):
            _answer(settings, session_id, line)


def read_lines(stream: TextIO) -> Iterator[str]:
    """Give what the user types, without surrounding blanks, until the input ends."""
    while True:
        try:
            line = input(USER) if stream.isatty() else stream.readline()
        except (EOFError, KeyboardInterrupt):
            click.echo()
            return
        if not line and not stream.isatty():
            return
        yield line.strip()


def _answer(settings: Settings, session_id: str, line: str) -> None:
    try:
        with running_client(settings) as client:  # anew each turn: a token may expire in between
            if line == "/clear":
                client.clear_session(session_id)
                click.echo("(forgotten)")
            else:
                _show(client.stream(line, session_id=session_id))
    except NeuroQError as error:
        if not error.status:  # not reached: the next line would fare no better
            raise
        click.echo(f"neuroq: {error}", err=True)


def _show(events: Iterator[dict[str, Any]]) -> None:
    """Print a reply as it comes."""
    begin = REPLY
    try:
        for event in events:
            click.echo(begin + event.get("delta", ""), nl=False)
            begin = ""
    finally:
        if not begin:
            click.echo()
