"""The options that several commands share, made from the table of settings."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from server.settings import OPTIONS, Settings, read_settings

ROOT = Path(__file__).resolve().parent.parent


def settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command every settings option; it gets them as keyword arguments of text."""
    for option in reversed(OPTIONS):
        note = f"{option.help} [{option.variable}; default {option.default}]"
        command = click.option(option.flag, option.field, metavar=_metavar(option.field), help=note)(command)
    return command


def settings_from(options: dict[str, str | None]) -> Settings:
    """Return the settings from a command's options and this process's environment.

    Relative paths start where the user stands, default places in NeuroQ's folder.
    """
    return read_settings(options, os.environ, ROOT, Path.cwd())


def _metavar(field: str) -> str:
    if field.endswith("port"):
        return "PORT"
    names = {"profile": "NAME", "host": "HOST", "training": "BOOL"}
    names |= {"session_store": "URL", "session_store_away": "NAME"}
    return names.get(field, "N" if field.startswith("training") else "PATH")
