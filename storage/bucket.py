"""One bucket of an object store, through obstore. Every fault is one of storage/errors.py.

Credentials and endpoints come from the standard variables: obstore reads AWS_ACCESS_KEY_ID and its like, and
GOOGLE_APPLICATION_CREDENTIALS; an endpoint of one's own and Google's emulator are put in here.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from storage.digest import SHA256
from storage.errors import MissingError, RefusedError, StorageError, TransferError
from storage.location import Location

CLIENT: Any = {"timeout": timedelta(minutes=1), "connect_timeout": timedelta(seconds=10)}
RETRIES: Any = {"max_retries": 2, "retry_timeout": timedelta(seconds=60)}
METADATA_HOST = "169.254.169.254"  # where a machine in a cloud asks for credentials, when it has no others
VARIABLES = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
}
MAX_REASON_LENGTH = 200


@dataclass(frozen=True)
class Stat:
    """What identifies one state of an object, and the SHA-256 that its uploader wrote into its metadata."""

    size: int
    e_tag: str | None
    version: str | None
    sha256: str | None = None


class Bucket:
    """Reads and writes the objects of the bucket that a location is in."""

    def __init__(self, location: Location) -> None:
        try:
            import obstore  # noqa: PLC0415 - an extra: who has only paths needs none
        except ModuleNotFoundError as error:
            raise StorageError(f"{location}: s3:// and gs:// need a package: pip install obstore") from error
        self._api: Any = obstore
        with _explained(location):
            self._store = (_open_s3 if location.scheme == "s3" else _open_gcs)(location.bucket)

    def stat(self, location: Location) -> Stat:
        """Return the state of an object."""
        with _explained(location):
            found = self._api.get(self._store, location.key, options={"head": True})
        return _stat(found)

    def read(self, location: Location, stat: Stat, start: int, end: int) -> bytes:
        """Return bytes of exactly this state of an object. Raises TransferError when it is another by now."""
        options = {"range": (start, end), "if_match": stat.e_tag}
        with _explained(location):
            found = self._api.get(self._store, location.key, options=options)
            content = bytes(found.bytes())
        now = _stat(found)
        if (now.size, now.e_tag, now.version) != (stat.size, stat.e_tag, stat.version):
            raise TransferError(f"{location}: the object was replaced while it was read")
        if len(content) != end - start:
            raise TransferError(f"{location}: {len(content)} bytes came instead of {end - start}")
        return content

    def read_small(self, location: Location, limit: int = 1 << 20) -> bytes:
        """Return a whole object that cannot be large."""
        stat = self.stat(location)
        if stat.size > limit:
            raise StorageError(f"{location}: {stat.size} bytes are too many for such a file")
        return self.read(location, stat, 0, stat.size) if stat.size else b""

    def write(self, location: Location, content: Path | bytes, metadata: Mapping[str, str]) -> None:
        """Replace an object, whole or not at all."""
        with _explained(location):
            self._api.put(self._store, location.key, content, attributes=dict(metadata))


def _open_s3(bucket: str) -> Any:
    from obstore.store import S3Store  # noqa: PLC0415

    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    config: Any = {"endpoint": endpoint} if endpoint else {}
    options: Any = {**CLIENT, "allow_http": (endpoint or "").startswith("http://")}
    return S3Store(bucket, config=config, client_options=options, retry_config=RETRIES)


def _open_gcs(bucket: str) -> Any:
    from obstore.store import GCSStore  # noqa: PLC0415

    emulator = os.environ.get("STORAGE_EMULATOR_HOST")
    if not emulator:
        return GCSStore(bucket, client_options=CLIENT, retry_config=RETRIES)
    url = emulator if "://" in emulator else f"http://{emulator}"
    account = {"gcs_base_url": url, "disable_oauth": True}
    account |= dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
    options: Any = {**CLIENT, "allow_http": True}
    config: Any = {"service_account_key": json.dumps(account)}
    return GCSStore(bucket, config=config, client_options=options, retry_config=RETRIES)


def _stat(found: Any) -> Stat:
    meta, sha256 = found.meta, found.attributes.get("sha256", "")
    return Stat(meta["size"], meta["e_tag"], meta["version"], sha256 if SHA256.fullmatch(sha256) else None)


@contextmanager
def _explained(location: Location) -> Iterator[None]:
    """Turn obstore's errors, which are many lines and show requests, into one line each."""
    from obstore import exceptions  # noqa: PLC0415

    try:
        yield
    except FileNotFoundError as error:
        raise MissingError(f"{location}: there is no such object") from error
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise RefusedError(
            f"{location}: access refused; check the credentials and what they may do"
        ) from error
    except exceptions.PreconditionError as error:
        raise TransferError(f"{location}: the object was replaced while it was read") from error
    except exceptions.BaseError as error:
        if METADATA_HOST in str(error):
            raise RefusedError(f"{location}: no credentials; set {VARIABLES[location.scheme]}") from error
        raise _unexplained(location, str(error)) from error


def _unexplained(location: Location, text: str) -> StorageError:
    """Return the error of an answer, without its body, or of none, by what obstore's first line ends with.

    What the store says about the request itself (400 to 499) it would say again.
    """
    status = re.search(r"status code: (\d{3}[A-Za-z -]*)", text)
    if not status:
        return TransferError(f"{location}: {text.splitlines()[0].rpartition(' - ')[2][:MAX_REASON_LENGTH]}")
    is_lasting = status[1].startswith("4") and not status[1].startswith(("408", "429"))
    error = StorageError if is_lasting else TransferError
    return error(f"{location}: the store answered {status[1].strip()}")
