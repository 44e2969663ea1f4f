"""Debian's packages, by apt-get: as any user, with package lists of their own, and nothing is installed."""

from __future__ import annotations

import io
import re
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from train.ready_text.package import Package, UnavailableError, is_wanted, output_of

_PATIENCE = ("Acquire::Retries=1", "Acquire::http::Timeout=20", "Acquire::Languages=none")


class Debian:
    """A registry. `folder` is a temporary one: it gets the lists, which are fetched once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: list[str] = []

    def fetch(self, names: str, patterns: Sequence[str]) -> list[Package]:
        """Return the packages whose whole name matches the regular expression `names`."""
        found = [name for name in self._all_names() if re.fullmatch(names, name)]
        if not found:
            raise UnavailableError(f"apt-get knows no package {names}")
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            self._apt("apt-get", "download", *found, folder=Path(folder))
            return [read_deb(path, patterns) for path in sorted(Path(folder).glob("*.deb"))]

    def _all_names(self) -> list[str]:
        if not self._names:
            for name in ("state/lists/partial", "cache/archives/partial"):
                (self._folder / name).mkdir(parents=True, exist_ok=True)
            self._apt("apt-get", "update", folder=self._folder)
            self._names = sorted(self._apt("apt-cache", "pkgnames", folder=self._folder).split())
        if not self._names:  # apt-get update only warns of that
            raise UnavailableError("apt-get could not fetch the lists of packages")
        return self._names

    def _apt(self, *command: str, folder: Path) -> str:
        places = [f"Dir::State={self._folder / 'state'}", f"Dir::Cache={self._folder / 'cache'}"]
        places.append("Dir::State::status=/dev/null")  # what is installed here does not matter
        options = [word for option in (*places, *_PATIENCE) for word in ("-o", option)]
        return output_of([command[0], *options, *command[1:]], folder).decode()


def read_deb(path: Path, patterns: Sequence[str]) -> Package:
    """Return a package's files that match; links and everything else are passed over."""
    name, version = output_of(["dpkg-deb", "--show", str(path)], path.parent).decode().split()
    content = output_of(["dpkg-deb", "--fsys-tarfile", str(path)], path.parent)
    files: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member in archive:
            inner = member.name.removeprefix("./")
            if member.isfile() and is_wanted(inner, patterns) and (file := archive.extractfile(member)):
                files[inner] = file.read()
    return Package(name, version, files)
