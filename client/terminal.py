"""Text between the command line and its surroundings, whatever their encoding is: never a traceback."""

import os
import sys
from io import TextIOWrapper
from typing import Any, TextIO

import click

STANDARD_INPUT = "-"


class Text(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions only
    """An argument that is sent to the server: its bytes must have been text."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text that the bytes of an argument are in UTF-8, whatever Python took them for."""
        if is_text(str(value)):
            return str(value)
        given = os.fsencode(str(value))
        try:
            return given.decode("utf-8")
        except UnicodeDecodeError:
            self.fail(f"{given!r} is not UTF-8", param, ctx)


def prepare_streams() -> None:
    """Read standard input as UTF-8 where nothing better is known, and escape what the output cannot show."""
    if isinstance(sys.stdin, TextIOWrapper):
        encoding = sys.stdin.encoding.lower()
        sys.stdin.reconfigure(
            encoding="utf-8" if encoding in ("ascii", "us-ascii", "ansi_x3.4-1968") else None,
            errors="surrogateescape",
        )
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def read_all(stream: TextIO) -> str:
    """Return a whole input without the line break at its end. Raises click.UsageError for what is no text."""
    return checked(stream.read().removesuffix("\n").removesuffix("\r"), "standard input")


def checked(text: str, place: str) -> str:
    """Return a text. Raises click.UsageError, with its place, when its bytes were none."""
    if not is_text(text):
        raise click.UsageError(f"{place} is not UTF-8")  # exit code 2
    return text


def is_text(text: str) -> bool:
    """Whether there is a character for all of it: what could not be decoded is half of a surrogate pair."""
    return not any(0xD800 <= ord(character) <= 0xDFFF for character in text)


def shows_unicode(stream: TextIO) -> bool:
    """Whether a stream takes every character as it is."""
    return (stream.encoding or "").lower().replace("-", "") in ("utf8", "utf8sig")
