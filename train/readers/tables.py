"""Tables: Parquet files and the Arrow streams of Hugging Face datasets, read with pyarrow alone."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from train.document import CorpusError, Document
from train.readers.arrow import pyarrow
from train.readers.fields import TURNS, shapes
from train.readers.records import parse_record
from train.tally import Tally

_ROWS = 256  # held at a time
_STATE = "state.json"  # what `Dataset.save_to_disk` lists its files in
_CACHE = re.compile(r"cache-.*\.arrow", re.IGNORECASE)  # what `Dataset.map` and others leave behind


def read_parquet(path: Path, tally: Tally) -> Iterator[Document]:
    """Yield the documents of a Parquet file. Raises CorpusError."""
    with _readable(path), pyarrow(path, "pyarrow.parquet").ParquetFile(path) as table:
        columns = _columns(path, table.schema_arrow.names)
        yield from _documents(path, table.iter_batches(batch_size=_ROWS, columns=columns), tally)


def read_arrow(path: Path, tally: Tally) -> Iterator[Document]:
    """Yield the documents of an Arrow IPC stream. Raises CorpusError."""
    arrow = pyarrow(path)
    with _readable(path), arrow.memory_map(str(path)) as file, arrow.ipc.open_stream(file) as stream:
        columns = _columns(path, stream.schema.names)
        yield from _documents(path, (batch.select(columns) for batch in stream), tally)


def is_data(path: Path, siblings: Sequence[str]) -> bool:
    """Tell whether an Arrow file of a folder holds its dataset, and not what was made of it on the way.

    A dataset that was saved lists its files. In the cache of the library `datasets` it has a name of its own,
    or is alone.
    """
    listed = _listed(path.parent)
    if listed is not None:
        return path.name in listed
    others = [name for name in siblings if name.lower().endswith(".arrow")]
    return not _CACHE.fullmatch(path.name) or others == [path.name]


def _listed(folder: Path) -> set[str] | None:
    try:
        state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        return {file["filename"] for file in state["_data_files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _columns(path: Path, names: list[str]) -> list[str]:
    columns = dict.fromkeys(column for shape in shapes(tuple(names)) for column in shape.columns)
    if columns:
        return list(columns)
    wanted = ", ".join(("text", *TURNS[:2]))
    raise CorpusError(
        f"{path}: expected a column {wanted}; found {', '.join(names)}; "
        "question and answer will do, or names like these"
    )


def _documents(path: Path, batches: Iterator[Any], tally: Tally) -> Iterator[Document]:
    number = 0
    for batch in batches:
        for start in range(0, batch.num_rows, _ROWS):
            for record in batch.slice(start, _ROWS).to_pylist():
                number += 1
                yield from parse_record(record, f"{path}, row {number}", tally)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except CorpusError:
        raise
    except (OSError, pyarrow(path).ArrowException) as error:
        number = getattr(error, "errno", None)
        reason = os.strerror(number) if number else str(error).splitlines()[0]
        raise CorpusError(f"{path} cannot be read: {reason}") from error
