"""Where a file lies: a path on this machine, or an object's URL (s3://BUCKET/KEY, gs://BUCKET/KEY).

Pure. What is wrong with a URL is a ValueError that goes on after the name of the option it was given to.
"""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

SCHEMES = ("s3", "gs")
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/.*", re.DOTALL)  # one slash is a URL, too: a slip, never a path
BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")


@dataclass(frozen=True)
class Location:
    """One object, or with a folder's key the objects below it."""

    scheme: str
    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}"

    @property
    def name(self) -> str:
        """The last part of the key."""
        return PurePosixPath(self.key).name

    def below(self, name: str) -> "Location":
        """Return the object of this name in the folder that this location is."""
        return Location(self.scheme, self.bucket, f"{self.key}/{name}" if self.key else name)

    def with_suffix(self, suffix: str) -> "Location":
        """Return the object whose key is this one's and the suffix."""
        return Location(self.scheme, self.bucket, self.key + suffix)


def is_remote(place: str) -> bool:
    """Tell whether a place is meant as a URL, be it a good one or not."""
    return URL.fullmatch(place) is not None


def parse_object(url: str) -> Location:
    """Return the location of an object. Raises ValueError."""
    location = parse_folder(url)
    if not location.key or url.endswith("/"):
        raise ValueError("must name an object below the bucket, such as s3://BUCKET/KEY")
    return location


def parse_folder(url: str) -> Location:
    """Return the location of a folder, the whole bucket without a key. Raises ValueError."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in SCHEMES:
        raise ValueError("must be a path, s3://BUCKET/KEY or gs://BUCKET/KEY")
    bucket, _, key = rest.partition("/")
    if not BUCKET.fullmatch(bucket):
        raise ValueError("must name a bucket of 3 to 222 small letters, digits, dots, - and _ after ://")
    key = key.removesuffix("/")
    if not _is_plain(key):
        raise ValueError("must have a key without control characters, ?, # and parts that are empty, . or ..")
    return Location(scheme, bucket, key)


def beside(place: str, name: str) -> str:
    """Return the path or URL of another file in the same folder."""
    if is_remote(place):
        return place.rpartition("/")[0] + "/" + name
    return str(Path(place).parent / name)


def _is_plain(key: str) -> bool:
    if not key:
        return True
    parts = key.split("/")
    return key.isprintable() and not set("?#") & set(key) and not {"", ".", ".."} & set(parts)
