"""The token cache: a corpus as token ids on disk, which every process of a run maps into its memory."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from train.document import CorpusError
from train.encoded import INDEX, EncodedDocument, EncodedDocuments, entry

_VERSION = 2
_DESCRIPTION = "description.json"
_TRAIN, _VALIDATION = "train", "validation"
_SHARD_BYTES = 1 << 29
_HELD_ENTRIES = 1 << 12

Stamp = list[list[str | int]] | None  # Corpus.stamp


@dataclass(frozen=True)
class CacheKey:
    """What fixes the content of a cache: text, split, tokenizer, and what the text is mixed with."""

    fingerprint: str
    validation_fraction: float
    tokenizer_sha256: str
    mixture: str = ""

    @property
    def name(self) -> str:
        """The name of the cache's folder."""
        content = json.dumps([_VERSION, *asdict(self).values()])
        return hashlib.sha256(content.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class TokenCache:
    """Training and validation documents, mapped from the files of a folder.

    `stamp` tells the state that the text's files had (Corpus.stamp).
    """

    folder: Path
    train: EncodedDocuments
    validation: EncodedDocuments
    stamp: Stamp

    @classmethod
    def open(cls, folder: Path) -> TokenCache:
        """Map a cache. Raises CorpusError when it is not there or not whole."""
        try:
            description = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
            for name, size in description["files"].items():
                if (folder / name).stat().st_size != size:
                    raise CorpusError(f"{folder / name} is not whole; remove the folder")
        except OSError as error:
            raise CorpusError(
                f"the token cache {folder} cannot be read ({error.strerror}); every process of a run, on "
                "every machine, must see the folder of the checkpoint"
            ) from error
        ids = np.dtype(description["ids"])
        train, validation = (_open_part(folder, name, ids) for name in (_TRAIN, _VALIDATION))
        return cls(folder, train, validation, description["stamp"])


def cache_path(checkpoint_path: Path) -> Path:
    """Return where the token caches of a checkpoint's runs lie: beside it."""
    return checkpoint_path.with_suffix(".tokens")


def find_cache(path: Path, key: CacheKey) -> TokenCache | None:
    """Return the cache of this key, None when there is none that is whole."""
    try:
        return TokenCache.open(path / key.name)
    except CorpusError:
        return None


def write_cache(
    path: Path,
    key: CacheKey,
    documents: Iterable[tuple[EncodedDocument, bool]],
    *,
    vocab_size: int,
    stamp: Stamp,
) -> TokenCache:
    """Write documents, each with whether it is held out, and map them; older caches at `path` go.

    The files get their folder's name when they are whole, so nobody ever sees a part of a cache. Raises
    CorpusError when the disk is full, and leaves nothing behind.
    """
    ids = np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.uint32)
    try:
        _write(path, key, documents, ids, stamp)
    except OSError as error:
        raise CorpusError(f"the token cache {path} cannot be written: {error.strerror}") from error
    return TokenCache.open(path / key.name)


def _write(
    path: Path,
    key: CacheKey,
    documents: Iterable[tuple[EncodedDocument, bool]],
    ids: np.dtype[Any],
    stamp: Stamp,
) -> None:
    path.mkdir(parents=True, exist_ok=True)
    for old in path.iterdir():
        shutil.rmtree(old)
    with tempfile.TemporaryDirectory(dir=path, prefix=".new-", ignore_cleanup_errors=True) as name:
        folder = Path(name) / key.name
        folder.mkdir()
        with _PartWriter(folder, _TRAIN, ids) as train, _PartWriter(folder, _VALIDATION, ids) as validation:
            for document, is_held_out in documents:
                (validation if is_held_out else train).add(document)
        files = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
        description = {"key": asdict(key), "ids": ids.str, "stamp": stamp, "files": files}
        with (folder / _DESCRIPTION).open("wb") as file:
            _write_through(file, json.dumps(description, ensure_ascii=False, indent=1).encode())
        folder.rename(path / key.name)


class _PartWriter:
    """Writes one part of a cache: NAME.index, and the shards NAME-00000.ids and so on."""

    def __init__(self, folder: Path, name: str, ids: np.dtype[Any]) -> None:
        self._folder, self._name, self._ids = folder, name, ids
        self._index = (folder / f"{name}.index").open("wb")
        self._entries: list[tuple[int, int, int, int, int, bool]] = []
        self._shard: BinaryIO | None = None
        self._num_shards = self._num_ids = 0

    def __enter__(self) -> _PartWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._index:
            if error is None:
                self._write_entries()
                _write_through(self._index)
        self._close_shard()

    def add(self, document: EncodedDocument) -> None:
        """Append a document; none lies in two shards."""
        size = (self._num_ids + len(document.ids)) * self._ids.itemsize
        if self._shard is None or (self._num_ids and size > _SHARD_BYTES):
            self._close_shard()
            self._shard = (self._folder / f"{self._name}-{self._num_shards:05}.ids").open("wb")
            self._num_shards, self._num_ids = self._num_shards + 1, 0
        self._entries.append(entry(document, self._num_shards - 1, self._num_ids))
        self._shard.write(document.ids.astype(self._ids).tobytes())
        self._num_ids += len(document.ids)
        if len(self._entries) == _HELD_ENTRIES:
            self._write_entries()

    def _write_entries(self) -> None:
        self._index.write(np.array(self._entries, INDEX).tobytes())
        self._entries = []

    def _close_shard(self) -> None:
        if self._shard is not None:
            with self._shard:
                _write_through(self._shard)


def _write_through(file: BinaryIO, content: bytes = b"") -> None:
    """Write, and wait until the disk has it: a name must not outlive a crash that its content did not."""
    file.write(content)
    file.flush()
    os.fsync(file.fileno())


def _open_part(folder: Path, name: str, ids: np.dtype[Any]) -> EncodedDocuments:
    shards = sorted(folder.glob(f"{name}-*.ids"))
    return EncodedDocuments(_map(folder / f"{name}.index", INDEX), [_map(shard, ids) for shard in shards])


def _map(path: Path, dtype: np.dtype[Any]) -> np.ndarray:
    """Map a file that may be empty, which cannot be mapped."""
    return np.memmap(path, dtype, mode="r") if path.stat().st_size else np.empty(0, dtype)
