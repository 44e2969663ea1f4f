"""A folder of texts: which of its files are read, and what the others are."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import TypeVar

from train.document import CorpusError
from train.readers.lines import COMPRESSIONS
from train.readers.tables import is_data

KINDS = (".txt", ".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow")
_COMPRESSED_KINDS = KINDS[:5]
# In a folder these may be anything else: what holds no record there is named and left out.
DOUBTFUL_KINDS = (".json", ".csv", ".tsv")
_Path = TypeVar("_Path", bound=PurePath)
_TRAIN, _OTHERS = (re.compile(rf"(?:{names})(?![a-z])") for names in ("train", "validation|valid|dev|test"))
# The cache of the library `datasets` begins its names with the dataset's: squad-train-00000-of-00002.arrow.
_IN_CACHE = re.compile(r"^.*?-(?=(?:train|validation|valid|dev|test)(?![a-z]))")
# What lies beside texts and tells about them; nobody expects it to be learned.
_ABOUT = re.compile(
    r"\..*|(?:readme|licen[cs]e|notice|changelog)(?:\..*)?|licences\.json|.*\.notice|.*\.lock"
    r"|(?:state|dataset_infos?|dataset_dict)\.json|cache-.*\.arrow",
    re.IGNORECASE,
)


def kind(path: PurePath) -> str:
    """Return a file's ending in small letters, without that of the compression of a text."""
    ending = path.suffix.lower()
    if ending not in COMPRESSIONS:
        return ending
    inner = PurePath(path.stem).suffix.lower()
    return inner if inner in _COMPRESSED_KINDS else ending


def texts_in(folder: Path) -> list[Path]:
    """Return the files of a folder that are read, at any depth. Raises CorpusError when there is none."""
    files = _files(folder)
    siblings: dict[Path, list[str]] = defaultdict(list)
    for path in files:
        siblings[path.parent].append(path.name)
    texts = [path for path in files if _is_text(path, siblings[path.parent])]
    if not texts:
        raise CorpusError(f"{folder}: there is no {', '.join(KINDS[:-1])} or {KINDS[-1]} file in this folder")
    return of_train(texts, folder)


def others_in(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the name of each file that is not read, and why."""
    texts = set(texts_in(folder))
    for path in _files(folder):
        if path not in texts and not _ABOUT.fullmatch(path.name):
            name = str(path.relative_to(folder))
            yield name, "not of the training split" if kind(path) in KINDS else "not a text"


def is_text_name(path: PurePath) -> bool:
    """Tell whether a file is read by its name, wherever it lies."""
    return kind(path) in KINDS and not (kind(path) == ".json" and _ABOUT.fullmatch(path.name))


def of_train(paths: Sequence[_Path], folder: PurePath) -> list[_Path]:
    """Return, of a dataset that is parted into train and others, those of train; else all."""
    names = {path: _names(path.relative_to(folder)) for path in paths}
    if not any(_TRAIN.match(part) for parts in names.values() for part in parts):
        return list(paths)
    return [path for path in paths if not any(_OTHERS.match(part) for part in names[path])]


def _names(path: PurePath) -> tuple[str, ...]:
    if path.suffix.lower() != ".arrow":
        return path.parts
    return (*path.parts[:-1], _IN_CACHE.sub("", path.name))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _is_text(path: Path, siblings: Sequence[str]) -> bool:
    if kind(path) == ".arrow":
        return is_data(path, siblings)
    return is_text_name(path)
