"""Places: what a relative path means, and whether a run's files can go where they should.

A path is relative to where the user stands; the default places lie in NeuroQ's own folder.
"""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import click
from click.core import ParameterSource

from train.arguments import DEFAULT_CHECKPOINT_PATH

ROOT = Path(__file__).resolve().parent.parent


def home(place: str) -> str:
    """Return a default place as it is typed from here."""
    return place if Path.cwd() == ROOT else str(ROOT / place)


def default_at_home(context: click.Context, option: click.Parameter, value: str) -> str:
    """Bring an option's default home: a callback of click."""
    is_default = context.get_parameter_source(option.name or "") is ParameterSource.DEFAULT
    return home(value) if is_default else value


checkpoint_option = click.option(
    "--checkpoint_path",
    "--checkpoint-path",
    default=DEFAULT_CHECKPOINT_PATH,
    show_default=True,
    callback=default_at_home,
)


def typed(place: str) -> str:
    """Return an absolute path as it is typed from here: relative when it leads down."""
    path = Path(place)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else place


def same_place(one: str | None, other: str | None) -> bool:
    """Whether two paths, from here, are the same."""
    if one is None or other is None:
        return one is other
    return Path(one).resolve() == Path(other).resolve()


def require_place(checkpoint_path: str) -> None:
    """Make the checkpoint's folder. Raises ValueError for what is no file's name, OSError for the folder."""
    path = Path(checkpoint_path)
    if path.is_dir() or checkpoint_path.endswith(os.sep):
        raise ValueError(
            f"checkpoint_path {checkpoint_path!r} is a folder; name a file in it, such as {path / 'model.pt'}"
        )
    if path.exists() and not path.is_file():
        raise ValueError(f"checkpoint_path {checkpoint_path!r} is no file that can be replaced")
    folder = path.parent
    for parent in (folder, *folder.parents):
        if parent.exists() and not parent.is_dir():
            raise OSError(errno.ENOTDIR, "is a file, there can be no folder of this name", str(parent))
    _require_writable(folder)


def _require_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, prefix=".neuroq-"):
            pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from error
