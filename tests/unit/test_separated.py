"""CSV and TSV as spreadsheets and people write them."""

from __future__ import annotations

import gzip
import io
import sys
from pathlib import Path

import pytest

from model.dialogue import Turn
from train.corpus import Corpus, CorpusError, Document

pytestmark = pytest.mark.unit
_PAIRS = [("営業時間は？", "9時からです。"), ("駐車場は？", "あります。")]


def read(folder: Path, content: str | bytes, name: str = "faq.csv") -> tuple[list[Document], str]:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    corpus = Corpus([str(path)])
    return list(corpus), str(corpus.tally)


def pairs(documents: list[Document]) -> list[tuple[str, ...]]:
    assert all([turn.role for turn in d.turns] == ["user", "assistant"] for d in documents)
    return [tuple(turn.text for turn in document.turns) for document in documents]


def table(*header: str, delimiter: str = ",") -> str:
    rows = [header, *_PAIRS] if header else _PAIRS
    return "".join(delimiter.join(row) + "\r\n" for row in rows)


@pytest.mark.parametrize(
    "header",
    ["question answer", "Q A", "q a", "prompt response", "prompt completion", "input output", "質問 回答",
     "instruction output", "問 答", "問い 答え", "Question: Answer:", "【質問】 【回答】", "入力 出力"],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932"])
def test_a_header_names_the_columns(tmp_path: Path, header: str, encoding: str) -> None:
    found, tally = read(tmp_path, table(*header.split()).encode(encoding))
    assert pairs(found) == _PAIRS
    assert tally == "read 2 dialogues from 1 file"


@pytest.mark.parametrize(
    ("name", "delimiter"), [("a.TSV", "\t"), ("a.csv", ";"), ("a.csv", "\t"), ("a.tsv", ",")]
)
def test_other_delimiters(tmp_path: Path, name: str, delimiter: str) -> None:
    for header in (("質問", "回答"), ()):
        assert pairs(read(tmp_path, table(*header, delimiter=delimiter), name)[0]) == _PAIRS


def test_columns_stand_in_any_order_among_others(tmp_path: Path) -> None:
    content = "No.,回答,カテゴリ,質問,\n1,9時からです。,店,営業時間は？,\n2,あります。,店,駐車場は？,\n"
    assert pairs(read(tmp_path, content)[0]) == _PAIRS


def test_without_a_header_two_columns_are_pairs(tmp_path: Path) -> None:
    found, tally = read(tmp_path, table())
    assert pairs(found) == _PAIRS
    assert tally.endswith("faq.csv: without a header, its columns are questions and answers")
    for content in (table().encode("cp932"), gzip.compress(table().encode())):
        name = "faq.csv" if content[:2] != b"\x1f\x8b" else "faq.csv.gz"
        assert pairs(read(tmp_path, content, name)[0]) == _PAIRS


def test_texts(tmp_path: Path) -> None:
    for content in ("id,text\n1,一\n2,二\n", "テキスト\n一\n二\n", "一\n二\n"):
        assert [document.text for document in read(tmp_path, content)[0]] == ["一", "二"]


def test_quoted_fields_hold_line_breaks_commas_and_quotes(tmp_path: Path) -> None:
    content = '質問,回答\r\n"a,b","一行目\r\n\r\n""二""行目"\r\nc,d\r\n'
    for given in (content, content.replace('",', '", ').replace("問,", "問, ")):
        assert pairs(read(tmp_path, given)[0]) == [("a,b", '一行目\n\n"二"行目'), ("c", "d")]


def test_lines_that_old_spreadsheets_end(tmp_path: Path) -> None:
    assert pairs(read(tmp_path, table("質問", "回答").replace("\r\n", "\r"))[0]) == _PAIRS


def test_a_field_may_be_long(tmp_path: Path) -> None:
    found, _ = read(tmp_path, f"q,a\n問,{'答' * 200_000}\n")
    assert found[0].turns[1] == Turn("assistant", "答" * 200_000)


def test_rows_that_cannot_be_learned_are_counted(tmp_path: Path) -> None:
    content = "\nq,a\nあ,い\n\n,\n \u3000,\nう,\n,え\nお,か,き\nく,け,\n"
    found, tally = read(tmp_path, content)
    assert pairs(found) == [("あ", "い"), ("く", "け")]
    assert tally == (
        "read 2 dialogues from 1 file; left out: 3 empty rows, 2 rows with only half of a pair, "
        "1 row with more fields than its header"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "題名,本体,日付\na,b,c\n",
            "line 1: expected a header with question and answer .*found 題名, 本体, 日付",
        ),
        ("質問,カテゴリ\na,b\n", "line 1: expected a header"),
        ('q,a\nあ,"い\n', "line 2: .*quotation mark"),
        ('q,a\n"あ"い,う\n', "line 2: .*quotation mark"),
        ("質問,回答\nはい,いいえ\n".encode() + b"a,\xff\n", "line 3: not UTF-8: byte 0xff"),
        ("吾輩は猫である。,名前はまだ無い。\n".encode("euc_jp"), "EUC-JP, not UTF-8: convert it"),
        ("吾輩は猫である。\t名前はまだ無い。\n".encode("utf-16"), "UTF-16, not UTF-8: convert it"),
        ("", "holds no text"),
        ("q,a\n", "holds no text"),
        (",\n\n", "holds no text"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        read(tmp_path, content)


def test_a_table_named_txt_gets_a_hint(tmp_path: Path) -> None:
    for delimiter, ending in ((",", ".csv"), ("\t", ".tsv")):
        _, tally = read(tmp_path, table("質問", "回答", delimiter=delimiter), "faq.txt")
        assert f"faq.txt looks like a table with {'commas' if ending == '.csv' else 'tabs'}" in tally
        assert f"name it {ending}" in tally
    assert "a.txt looks like JSON: name it .jsonl" in read(tmp_path, '{"text": "x"}\n' * 3, "a.txt")[1]
    for prose in (
        "質問、回答。\nはい。\nいいえ。\n",
        "はい,そう\nいいえ,違う\n",
        "q,a\n\n長い文。\n別の文。\n",
    ):
        assert "looks like" not in read(tmp_path, prose, "prose.txt")[1]


@pytest.mark.parametrize(
    ("content", "dialogues", "texts"),
    [
        (table("質問", "回答").encode(), 2, 0),
        (table("質問", "回答").encode("cp932"), 2, 0),
        (table("q", "a", delimiter="\t").encode("utf-8-sig"), 2, 0),
        (b'[{"text": "a"},\n{"text": "b"}]', 0, 2),
        (b'[\n{"q": "a", "a": "b"}\n]', 1, 0),
        (b'\n{"text": "a"}\n{"q": "b", "a": "c"}', 1, 1),
        ("[注] これは文です。\n二つ目。".encode(), 0, 2),
        ("はい,そうです。\nいいえ,違います。".encode(), 0, 2),
    ],
)
def test_standard_input_is_read_for_what_it_is(
    content: bytes, dialogues: int, texts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    corpus = Corpus(["-"])
    assert len(list(corpus)) == len(list(corpus)) == dialogues + texts
    assert (corpus.tally.num_dialogues, corpus.tally.num_texts) == (dialogues, texts)
