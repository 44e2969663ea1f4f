"""The folder of ready text: a text file a source, the packages' notice beside it, and licences.json."""

from __future__ import annotations

import hashlib
from pathlib import Path

from train.licences import LISTING, Licence, listing, read_listing
from train.ready_text.source import Source, Text


def put(folder: Path, source: Source, text: Text) -> Licence:
    """Write a source's text, each file whole or not at all, and list its licence.

    The listing comes last: a text that is newer than its entry counts as changed, not as licensed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = ("\n\n".join(text.documents) + "\n").encode()
    licence = Licence(
        file=f"{source.name}.txt",
        source=source.name,
        licence=source.licence,
        registry=source.registry,
        packages=text.packages,
        notice=f"{source.name}.notice",
        characters=sum(len(document) for document in text.documents),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    others = [other for other in read_listing(folder) if other.file != licence.file]
    _write(folder / licence.notice, text.notice.encode())
    _write(folder / licence.file, content)
    _write(folder / LISTING, listing([*others, licence]).encode())
    return licence


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
