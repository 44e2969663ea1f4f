"""Compressed text, Parquet and Hugging Face folders hold the same documents as JSON Lines."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from train.corpus import CorpusError, Document, files_of, read_documents

pytestmark = pytest.mark.unit
TEXTS = ["春が来た。", "夏は暑い。\n本当に。", "秋には\u2028実る。"]
MESSAGES = [
    [{"role": "user", "content": f"{n}番は？"}, {"role": "assistant", "content": f"{n}番です。"}]
    for n in range(3)
]
TURNS = [[{"role": m["role"], "text": m["content"]} for m in messages] for messages in MESSAGES]


def rows(field: str) -> list[dict[str, Any]]:
    values: dict[str, list[Any]] = {"text": TEXTS, "messages": MESSAGES, "turns": TURNS}
    return [{"id": number, field: value} for number, value in enumerate(values[field])]


def json_lines(field: str) -> str:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows(field))


def expected(folder: Path, field: str) -> list[Document]:
    (folder / "expected.jsonl").write_text(json_lines(field), encoding="utf-8")
    return read_documents([str(folder / "expected.jsonl")])


def write_arrow(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table, max_chunksize=2)


def save_to_disk(folder: Path, table: pa.Table) -> None:
    """The files that datasets.Dataset.save_to_disk writes, in two shards."""
    names = [f"data-{n:05}-of-00002.arrow" for n in range(2)]
    write_arrow(folder / names[0], table.slice(0, 1))
    write_arrow(folder / names[1], table.slice(1))
    (folder / "dataset_info.json").write_text(json.dumps({"features": {}}))
    state = {"_data_files": [{"filename": name} for name in names], "_split": None}
    (folder / "state.json").write_text(json.dumps(state))


@pytest.mark.parametrize("field", ["text", "messages", "turns"])
def test_tables_hold_the_documents_of_json_lines(tmp_path: Path, field: str) -> None:
    table = pa.Table.from_pylist(rows(field))
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    write_arrow(tmp_path / "a.arrow", table)
    for name in ("a.parquet", "a.arrow"):
        assert read_documents([str(tmp_path / name)]) == expected(tmp_path, field)


def test_a_saved_dataset_is_its_shards_and_not_its_caches(tmp_path: Path) -> None:
    save_to_disk(tmp_path / "dataset", pa.Table.from_pylist(rows("messages")))
    write_arrow(tmp_path / "dataset" / "cache-0123.arrow", pa.Table.from_pylist(rows("text")))
    assert read_documents([str(tmp_path / "dataset")]) == expected(tmp_path, "messages")


def test_of_a_dataset_with_splits_only_train_is_read(tmp_path: Path) -> None:
    for split in ("train", "test"):
        save_to_disk(tmp_path / "saved" / split, pa.Table.from_pylist(rows("text")))
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert len(files_of([str(tmp_path / "saved")])) == 2
    assert len(files_of([str(tmp_path / "saved" / "test")])) == 2
    data = tmp_path / "snapshot" / "data"
    data.mkdir(parents=True)
    for name in ("train-00000-of-00001", "validation-00000-of-00001", "test-00000-of-00001"):
        pq.write_table(pa.Table.from_pylist(rows("text")), data / f"{name}.parquet")
    assert [path.name for path in files_of([str(data.parent)])] == ["train-00000-of-00001.parquet"]


@pytest.mark.parametrize("suffix", ["gz", "zst"])
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_compressed_text(tmp_path: Path, suffix: str, name: str) -> None:
    content = (json_lines("text") if name == "a.jsonl" else "一\n二\n\n三\n").encode()
    plain, packed = tmp_path / name, tmp_path / f"{name}.{suffix}"
    plain.write_bytes(content)
    if suffix == "gz":
        packed.write_bytes(gzip.compress(content))
    else:
        with pa.CompressedOutputStream(str(packed), "zstd") as file:
            file.write(content)
    assert read_documents([str(packed)]) == read_documents([str(plain)])


def test_rows_without_content_are_left_out(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["一", None, "", " \n", "二"]}), tmp_path / "a.parquet")
    assert [d.text for d in read_documents([str(tmp_path / "a.parquet")])] == ["一", "二"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.parquet", pa.table({"body": ["一"]}), "expected a column text, messages, turns; found body"),
        ("a.parquet", pa.table({"text": [1]}), "row 1: expected"),
        ("a.parquet", b"PAR1 and rubbish", r"a\.parquet cannot be read: "),
        ("a.arrow", b"rubbish", r"a\.arrow cannot be read: "),
        ("a.jsonl.gz", b"rubbish", r"a\.jsonl\.gz cannot be read: Not a gzipped file"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 99)[:-20], r"a\.jsonl\.gz cannot be read: "),
        ("a.jsonl.zst", b"rubbish", r"a\.jsonl\.zst cannot be read: "),
        ("a.parquet.gz", b"", "a corpus is"),
        ("none.parquet", None, r"none\.parquet cannot be read: No such file"),
        ("none.arrow", None, r"none\.arrow cannot be read: No such file"),
    ],
)
def test_a_bad_file_is_told(
    tmp_path: Path, name: str, content: pa.Table | bytes | None, message: str
) -> None:
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    elif content is not None:
        pq.write_table(content, tmp_path / name)
    with pytest.raises(CorpusError, match=message) as caught:
        read_documents([str(tmp_path / name)])
    assert "\n" not in str(caught.value)


def test_without_pyarrow_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(pa.table({"text": ["一"]}), tmp_path / "a.parquet")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(CorpusError, match="without pyarrow: pip install pyarrow"):
        read_documents([str(tmp_path / "a.parquet")])
