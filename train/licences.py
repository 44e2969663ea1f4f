"""Licences of texts: licences.json beside them lists each with a hash; a checkpoint's lineage keeps them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from train.corpus import BUILT_IN, CorpusError

LISTING = "licences.json"
_BUILT_IN = {"source": "built-in corpus", "licence": "CC0 1.0", "notice": "corpus/LICENSE"}


@dataclass(frozen=True)
class Licence:
    """Under which licence a text file stands, and where it came from (`packages`: name → version).

    `notice` is a file beside it: what the packages themselves say, for the credit that a licence asks for.
    """

    file: str
    source: str
    licence: str
    registry: str
    packages: dict[str, str]
    notice: str
    characters: int
    sha256: str


def read_listing(folder: Path) -> list[Licence]:
    """Return what a folder's licences.json lists, nothing where there is none. Raises CorpusError."""
    path = folder / LISTING
    try:
        return [Licence(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError) as error:
        raise CorpusError(f"{path} does not list the licences of texts: {error}") from error


def listing(licences: Iterable[Licence]) -> str:
    """Return the content of a licences.json."""
    entries = [asdict(licence) for licence in sorted(licences, key=lambda licence: licence.file)]
    return json.dumps(entries, ensure_ascii=False, indent=1) + "\n"


def licences_of(files: Sequence[Path]) -> list[dict[str, Any]]:
    """Return what is known of the files' licences, as plain dictionaries for the lineage.

    A listed file whose content is not the listed one has the licence "unknown". Raises CorpusError.
    """
    found: list[dict[str, Any]] = []
    if any(file.resolve().is_relative_to(BUILT_IN) for file in files):
        found.append(_BUILT_IN)
    for folder in sorted({file.parent for file in files}):
        names = {file.name for file in files if file.parent == folder}
        found += [_checked(folder, licence) for licence in read_listing(folder) if licence.file in names]
    return found


def summary(licences: Iterable[dict[str, Any]]) -> str:
    """Return "LICENCE (SOURCE, …), …"."""
    sources: dict[str, list[str]] = {}
    for entry in licences:
        sources.setdefault(entry["licence"], []).append(entry["source"])
    return ", ".join(f"{licence} ({', '.join(names)})" for licence, names in sources.items())


def _checked(folder: Path, licence: Licence) -> dict[str, Any]:
    digest = hashlib.sha256((folder / licence.file).read_bytes()).hexdigest()
    if digest == licence.sha256:
        return asdict(licence)
    changed = f"unknown: the file has changed since {LISTING} listed it"
    return {"file": licence.file, "source": licence.source, "licence": changed, "sha256": digest}
