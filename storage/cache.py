"""Objects that were fetched, each under its digest: FOLDER/SHA256/NAME. May be deleted at any time.

A download goes to a temporary file, named after the object and the state it is in, and goes on there when it
was broken off, in this process or another. It is read in ranges that count for that state only, so bytes of
two states are never mixed. Whole, it is verified and renamed.
"""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO

from storage.bucket import Bucket, Stat
from storage.digest import SHA256, file_digest
from storage.errors import MissingError, RefusedError, StorageError, TransferError
from storage.hub import fetch_file, is_hub
from storage.location import Location, is_remote, parse_object

RANGE_SIZE = 8 << 20
PAUSES = (0.5, 1.0, 2.0, 4.0)  # seconds between the tries of one fetch


@dataclass(frozen=True)
class Cache:
    """A folder of fetched objects; several processes may share it."""

    folder: Path
    pauses: tuple[float, ...] = PAUSES

    def fetch(self, location: Location) -> Path:
        """Return where a verified copy of the object as it is now lies. Raises StorageError."""
        try:
            bucket = Bucket(location)
            with self._locked(location):
                return self._fetch_with_patience(bucket, location)
        except OSError as error:
            reason = error.strerror or error
            raise StorageError(f"{location}: cannot be kept in {self.folder}: {reason}") from error

    def _fetch_with_patience(self, bucket: Bucket, location: Location) -> Path:
        for pause in self.pauses:
            try:
                return self._fetch(bucket, location)
            except TransferError:
                time.sleep(pause)
        try:
            return self._fetch(bucket, location)
        except TransferError as error:
            raise StorageError(f"{error} ({len(self.pauses) + 1} tries)") from error

    def _fetch(self, bucket: Bucket, location: Location) -> Path:
        stat = _with_checksum(bucket, location)
        held = self._held(location, stat)
        if held:
            return held
        partial = self._partial(location, stat)
        with partial.open("ab") as file:
            _download(bucket, location, stat, file)
        digest = self._verified(bucket, location, stat, partial)
        path = self.folder / digest / location.name
        path.parent.mkdir(exist_ok=True)
        partial.replace(path)
        self._remember(location, stat, digest)
        return path

    def _held(self, location: Location, stat: Stat) -> Path | None:
        """Return the copy of this state when there is one, and it is still what it was."""
        try:
            record = json.loads((self.folder / f"{_name(location)}.json").read_text())
            path = self.folder / record["sha256"] / location.name
            is_good = record["stat"] == asdict(stat) and file_digest(path) == record["sha256"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return path if is_good else None

    def _partial(self, location: Location, stat: Stat) -> Path:
        """Return the temporary file of this state; those of earlier states are removed."""
        state = hashlib.sha256(repr(stat).encode()).hexdigest()[:16]
        partial = self.folder / f"{_name(location)}.{state}.partial"
        for other in self.folder.glob(f"{_name(location)}.*.partial"):
            if other != partial:
                other.unlink()
        return partial

    def _verified(self, bucket: Bucket, location: Location, stat: Stat, partial: Path) -> str:
        """Return the file's SHA-256; removes what is not what it should be."""
        digest = file_digest(partial)
        fault = _fault(partial, digest, stat)
        if not fault:
            return digest
        partial.unlink()
        if _with_checksum(bucket, location) != stat:
            raise TransferError(f"{location}: the object was replaced while it was read")
        raise StorageError(f"{location}: {fault}")

    def _remember(self, location: Location, stat: Stat, digest: str) -> None:
        path = self.folder / f"{_name(location)}.json"
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps({"url": str(location), "stat": asdict(stat), "sha256": digest}))
        temporary.replace(path)

    @contextmanager
    def _locked(self, location: Location) -> Iterator[None]:
        """Let one process at a time fetch an object; the next finds what it did."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{_name(location)}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def default_cache() -> Cache:
    """Return the cache in $NEUROQ_CACHE, or in neuroq of the user's folder for caches."""
    given = os.environ.get("NEUROQ_CACHE")
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "neuroq")
    return Cache(Path(given) if given else usual)


def local_path(place: str) -> Path:
    """Return the path itself, or where a URL's object was fetched to. Raises StorageError, ValueError."""
    if is_hub(place):
        return fetch_file(place)
    return default_cache().fetch(parse_object(place)) if is_remote(place) else Path(place)


def _download(bucket: Bucket, location: Location, stat: Stat, file: BinaryIO) -> None:
    """Append what is missing, range by range, and see to it that it is on the disk."""
    for start in range(file.tell(), stat.size, RANGE_SIZE):
        file.write(bucket.read(location, stat, start, min(start + RANGE_SIZE, stat.size)))
        file.flush()
    os.fsync(file.fileno())


def _with_checksum(bucket: Bucket, location: Location) -> Stat:
    """Return the object's state with the checksum that lies beside it, unless it carries one itself."""
    stat = bucket.stat(location)
    if stat.sha256:
        return stat
    beside = location.with_suffix(".sha256")
    try:
        words = bucket.read_small(beside).decode("utf-8", errors="replace").split()
    except (MissingError, RefusedError):  # S3 refuses to tell who may not list that there is none
        return stat
    if not words or not SHA256.fullmatch(words[0].lower()):
        raise StorageError(f"{beside}: is no SHA-256 in hexadecimal")
    return replace(stat, sha256=words[0].lower())


def _fault(path: Path, digest: str, stat: Stat) -> str | None:
    """Return what is wrong with a downloaded file. An ETag of 32 digits is the MD5 of the content."""
    if stat.sha256:
        wrong = stat.sha256 != digest
        return f"its SHA-256 is {digest[:12]}…, it should be {stat.sha256[:12]}…" if wrong else None
    e_tag = (stat.e_tag or "").strip('"')
    if len(e_tag) == 32 and file_digest(path, "md5") != e_tag:
        return "its MD5 is not its ETag; in a bucket that encrypts with KMS keys put its .sha256 beside it"
    return None


def _name(location: Location) -> str:
    return hashlib.sha256(str(location).encode()).hexdigest()[:32]
