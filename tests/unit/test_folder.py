"""What of a folder is read, and what is named because it is not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pytest

from tests.unit.test_readers import save_to_disk, write_arrow
from train.corpus import Corpus, CorpusError, files_of

pytestmark = pytest.mark.unit


def fill(folder: Path, **files: str) -> None:
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


def read(*sources: Path) -> tuple[list[str], str]:
    corpus = Corpus(map(str, sources))
    texts = [document.text or "/".join(turn.text for turn in document.turns) for document in corpus]
    return texts, str(corpus.tally)


def test_every_kind_in_large_letters_or_small(tmp_path: Path) -> None:
    fill(tmp_path, A_TXT="一", b_JSONL='{"text": "二"}', c_json='[{"text": "三"}]', d_Csv="q,a\n四,4\n")
    fill(tmp_path, sub__e_tsv="質問\t回答\n五\t5\n")
    texts, tally = read(tmp_path)
    assert sorted(texts) == sorted(["一", "二", "三", "四/4", "五/5"])
    assert tally == "read 2 dialogues and 3 texts from 5 files"


def test_what_is_not_read_is_named(tmp_path: Path) -> None:
    fill(tmp_path, a_txt="一", notes_docx="x", sub__page_html="x", b_txt=" \n")
    fill(tmp_path, config_json='{"a": 1}', sizes_csv="name,size,date\na,1,2\n", broken_json="{")
    texts, tally = read(tmp_path)
    assert texts == ["一"]
    assert tally.startswith("read 1 text from 1 file; left out: notes.docx (not a text), ")
    assert "sub/page.html (not a text)" in tally
    assert "config.json (line 1: expected " in tally
    assert "sizes.csv (line 1: expected a header" in tally
    assert tally.endswith("b.txt (holds no text)")


def test_what_tells_about_texts_is_neither_read_nor_named(tmp_path: Path) -> None:
    fill(
        tmp_path,
        a_txt="一",
        LICENSE="x",
        README_md="x",
        licences_json="[]",
        a_notice="x",
        dataset__x_txt="二",
    )
    (tmp_path / ".gitattributes").write_text("x")
    (tmp_path / "dataset" / "dataset_infos.json").write_text("{}")
    assert read(tmp_path) == (["一", "二"], "read 2 texts from 2 files")


def test_a_file_named_by_itself_is_never_left_out(tmp_path: Path) -> None:
    fill(tmp_path, config_json='{"a": 1}')
    with pytest.raises(CorpusError, match=r"config\.json, line 1: expected"):
        read(tmp_path / "config.json")


def test_an_error_after_the_first_document_ends_the_reading(tmp_path: Path) -> None:
    fill(tmp_path, a_txt="一", b_json='[{"text": "二"}, {"text": 3}]')
    with pytest.raises(CorpusError, match=r"b\.json, line 1: expected"):
        read(tmp_path)


def test_files_of_other_splits_are_named(tmp_path: Path) -> None:
    fill(tmp_path, train_jsonl='{"text": "一"}', test_jsonl='{"text": "二"}')
    assert read(tmp_path) == (
        ["一"],
        "read 1 text from 1 file; left out: test.jsonl (not of the training split)",
    )


def test_the_cache_of_the_library_datasets(tmp_path: Path) -> None:
    rows = pa.table({"text": ["一", "二"]})
    write_arrow(tmp_path / "squad-train-00000-of-00002.arrow", rows.slice(0, 1))
    write_arrow(tmp_path / "squad-train-00001-of-00002.arrow", rows.slice(1))
    write_arrow(tmp_path / "squad-validation.arrow", pa.table({"text": ["評価"]}))
    write_arrow(tmp_path / "cache-0123.arrow", pa.table({"text": ["途中"]}))
    for _ in range(2):
        texts, tally = read(tmp_path)
        assert texts == ["一", "二"]
        assert tally.endswith("left out: squad-validation.arrow (not of the training split)")
        (tmp_path / "dataset_info.json").write_text(json.dumps({"features": {}}))


def test_a_cache_file_alone_is_read_and_several_are_not(tmp_path: Path) -> None:
    write_arrow(tmp_path / "cache-0123.arrow", pa.table({"text": ["一"]}))
    assert read(tmp_path)[0] == ["一"]
    write_arrow(tmp_path / "cache-4567.arrow", pa.table({"text": ["二"]}))
    with pytest.raises(CorpusError, match=r"there is no \.txt, .*in this folder"):
        read(tmp_path)


def test_saved_datasets_and_caches_below_one_folder(tmp_path: Path) -> None:
    save_to_disk(tmp_path / "saved", pa.table({"text": ["一", "二"]}))
    write_arrow(tmp_path / "saved" / "cache-1.arrow", pa.table({"text": ["途中"]}))
    write_arrow(tmp_path / "cached" / "mine.arrow", pa.table({"text": ["三"]}))
    assert sorted(read(tmp_path)[0]) == ["一", "三", "二"]


def test_a_name_that_is_not_utf_8_is_told(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    try:
        (tmp_path / name).write_text("一")
    except OSError:
        pytest.skip("this file system takes no such name")
    for source in (tmp_path, tmp_path / name):
        with pytest.raises(CorpusError, match=r"caf\\xe9\.txt: the file's name .* is not UTF-8") as caught:
            read(source)
        str(caught.value).encode()
    (tmp_path / name).rename(tmp_path / os.fsdecode(b"caf\xe9.doc"))
    fill(tmp_path, a_txt="一")
    assert r"caf\xe9.doc (not a text)" in read(tmp_path)[1]
    assert files_of([str(tmp_path)]) == [tmp_path / "a.txt"]
