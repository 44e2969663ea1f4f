"""Tables: Parquet files and the Arrow streams of Hugging Face datasets, read with pyarrow alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from train.document import CorpusError, Document
from train.readers.arrow import pyarrow
from train.readers.records import FIELDS, parse_record

_ROWS = 256  # held at a time
_STATE = "state.json"  # what `Dataset.save_to_disk` lists its files in


def read_parquet(path: Path) -> Iterator[Document]:
    """Yield the documents of a Parquet file. Raises CorpusError."""
    with _readable(path), pyarrow(path, "pyarrow.parquet").ParquetFile(path) as table:
        field = _field(path, table.schema_arrow.names)
        yield from _documents(path, field, table.iter_batches(batch_size=_ROWS, columns=[field]))


def read_arrow(path: Path) -> Iterator[Document]:
    """Yield the documents of an Arrow IPC stream. Raises CorpusError."""
    arrow = pyarrow(path)
    with _readable(path), arrow.memory_map(str(path)) as file, arrow.ipc.open_stream(file) as stream:
        field = _field(path, stream.schema.names)
        yield from _documents(path, field, (batch.select([field]) for batch in stream))


def is_saved_dataset(path: Path) -> bool:
    """Tell whether an Arrow file is part of a dataset that was saved, and not one of its caches."""
    try:
        state = json.loads((path.parent / _STATE).read_text(encoding="utf-8"))
        return path.name in {file["filename"] for file in state["_data_files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _field(path: Path, names: list[str]) -> str:
    for field in FIELDS:
        if field in names:
            return field
    raise CorpusError(f"{path}: expected a column {', '.join(FIELDS)}; found {', '.join(names)}")


def _documents(path: Path, field: str, batches: Iterator[Any]) -> Iterator[Document]:
    """A table cannot leave out a row, so one without content is not an error."""
    number = 0
    for batch in batches:
        for start in range(0, batch.num_rows, _ROWS):
            for record in batch.slice(start, _ROWS).to_pylist():
                number += 1
                content = record[field]
                if content and not (isinstance(content, str) and not content.strip()):
                    yield parse_record(record, f"{path}, row {number}")


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
