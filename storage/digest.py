"""Digests of files, in hexadecimal."""

import hashlib
import re
from pathlib import Path

SHA256 = re.compile(r"[0-9a-f]{64}")
BLOCK = 1 << 20


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Return the digest of a file's content."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
