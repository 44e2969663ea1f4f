"""The shapes of records that people's tools write: each as the dialogue or text that it holds."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.dialogue import Turn
from tests.conftest import ROOT
from train.corpus import Corpus, CorpusError, Document, read_documents

pytestmark = pytest.mark.unit
_DIALOGUE = (Turn("user", "営業時間は？"), Turn("assistant", "9時からです。"))
_QUESTION, _ANSWER = (turn.text for turn in _DIALOGUE)


def said(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def read(folder: Path, content: Any, name: str = "a.json") -> tuple[list[Document], str]:
    """Return the documents of a JSON value, or of text as it is, and the tally."""
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    corpus = Corpus([str(path)])
    return list(corpus), str(corpus.tally)


def dialogue(folder: Path, record: Any) -> tuple[tuple[Turn, ...], str]:
    (document,), tally = read(folder, json.dumps(record, ensure_ascii=False), "a.jsonl")
    return document.turns, tally.partition("left out: ")[2]


@pytest.mark.parametrize(
    "record",
    [
        {"conversations": [{"from": "human", "value": _QUESTION}, {"from": "gpt", "value": _ANSWER}]},
        {"conversations": [{"from": "user", "value": _QUESTION}, {"from": "bot", "value": _ANSWER}]},
        {"conversation": [said("Human", _QUESTION), said("MODEL", _ANSWER)], "id": 3},
        {"messages": [said("user", _QUESTION), said("assistant", _ANSWER, name=None, tool_calls=None)]},
        {"messages": [said("user", [{"type": "text", "text": "営業時間"}, "は？"]), said("gpt", _ANSWER)]},
        {"instruction": _QUESTION, "input": "", "output": _ANSWER, "text": "### Instruction: …"},
        {"prompt": _QUESTION, "completion": _ANSWER},
        {"Prompt": _QUESTION, "Response": _ANSWER, "source": "x"},
        {"question": _QUESTION, "answer": _ANSWER, "tags": [{"a": 1}]},
        {"Ｑ": _QUESTION, "Ａ": _ANSWER},
        {"質問": _QUESTION, "回答": _ANSWER},
        {"問": _QUESTION, "答": _ANSWER},
        {"問い": _QUESTION, "答え": _ANSWER},
        {"input": _QUESTION, "output": _ANSWER},
        {"prompt": [said("user", _QUESTION)], "completion": [said("assistant", _ANSWER)]},
        {"text": "", "messages": [said("user", _QUESTION), said("assistant", _ANSWER)]},
        [said("user", _QUESTION), said("assistant", _ANSWER)],
    ],
)
def test_a_dialogue_in_any_shape(tmp_path: Path, record: Any) -> None:
    assert dialogue(tmp_path, record) == (_DIALOGUE, "")


def test_a_dialogue_is_learned_in_each_of_its_wordings(tmp_path: Path) -> None:
    turns = [
        {"role": "user", "text": "虹とは", "wordings": ["虹って何", "にじとは"]},
        {"role": "assistant", "text": "光の帯です。"},
        said("user", "何色", wordings=["色の数は"]),
        said("assistant", "七色です。"),
    ]
    found, _ = read(tmp_path, {"turns": turns})
    assert [[turn.text for turn in document.turns] for document in found] == [
        ["虹とは", "光の帯です。", "何色", "七色です。"],
        ["虹って何", "光の帯です。", "色の数は", "七色です。"],
        ["にじとは", "光の帯です。"],
    ]


@pytest.mark.parametrize("wordings", ["虹って何", [3], {"a": "b"}])
def test_wordings_that_are_none_are_told(tmp_path: Path, wordings: Any) -> None:
    turns = [said("user", _QUESTION, wordings=wordings), said("assistant", _ANSWER)]
    with pytest.raises(CorpusError, match=r"a\.json, line 1: .*string"):
        read(tmp_path, {"turns": turns})


def test_an_instruction_takes_its_input_along(tmp_path: Path) -> None:
    turns, _ = dialogue(tmp_path, {"instruction": "訳せ", "input": "cat", "output": "猫", "system": "s"})
    assert turns == (Turn("user", "訳せ\ncat"), Turn("assistant", "猫"))


@pytest.mark.parametrize(
    ("messages", "left_out"),
    [
        ([said("system", "s"), said("developer", "d"), *"qa"], "2 system messages"),
        ([said("assistant", "いらっしゃい"), *"qa"], "1 assistant's turn before any user's"),
        ([*"qa", said("user", "天気は？"), said("assistant", None, tool_calls=[{"id": "1"}]),
          said("tool", "晴れ"), said("assistant", "晴れです。")], "1 exchange with tools"),
        ([said("user", "天気は？"), {"role": "gpt", "tool_calls": [{}]}, *"qa"], "1 exchange with tools"),
        ([*"qa", said("user", "え？"), said("assistant", "")], "1 exchange with an empty turn"),
        ([*"qa", said("user", "\u3000"), said("assistant", "はい")], "1 exchange with an empty turn"),
        ([said("user", [{"type": "text", "text": _QUESTION}, {"type": "image_url", "image_url": {}}]), "a"],
         "1 part of a message that is not text"),
    ],
)  # fmt: skip
def test_what_a_model_cannot_learn_is_left_out_and_counted(
    tmp_path: Path, messages: list[Any], left_out: str
) -> None:
    usual = {"q": said("user", _QUESTION), "a": said("assistant", _ANSWER)}
    record = {"messages": [usual.get(m, m) if isinstance(m, str) else m for m in messages]}
    assert dialogue(tmp_path, record) == (_DIALOGUE, left_out)


def test_turns_of_one_role_become_one(tmp_path: Path) -> None:
    messages = [said("user", "営業時間"), said("user", "は？"), said("assistant", "9時"), said("gpt", "から")]
    turns, left_out = dialogue(tmp_path, {"messages": messages})
    assert turns == (Turn("user", "営業時間\nは？"), Turn("assistant", "9時\nから"))
    assert left_out == ""


def test_a_question_that_waits_for_its_answer_stays(tmp_path: Path) -> None:
    assert dialogue(tmp_path, {"turns": [{"role": "user", "text": "まだ？"}]})[0] == (Turn("user", "まだ？"),)


_TEXTS = [{"text": "一"}, {"text": "二"}]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
@pytest.mark.parametrize(
    "content",
    [
        json.dumps(_TEXTS),
        json.dumps(_TEXTS, indent=2),
        "\n\n" + json.dumps(_TEXTS, indent="\t") + "\n\n",
        "\n".join(json.dumps(record) for record in _TEXTS),
        "\n".join(json.dumps(record, indent=1) for record in _TEXTS),
        json.dumps({"data": _TEXTS}),
        json.dumps({"version": "1.0", "data": _TEXTS, "tags": ["a"]}, indent=2),
        json.dumps(["一", "二"]),
        json.dumps({"name": "x", "texts": ["一", "二"]}),
        '["一",\n"二"\n]',
    ],
)
def test_json_in_any_form(tmp_path: Path, name: str, content: str) -> None:
    found, tally = read(tmp_path, content, name)
    assert [document.text for document in found] == ["一", "二"]
    assert tally == "read 2 texts from 1 file"


def test_records_below_a_name_that_may_also_be_one_record(tmp_path: Path) -> None:
    messages = [said("user", _QUESTION), said("assistant", _ANSWER)]
    for value in (
        {"conversations": [{"conversations": messages}] * 2},
        [messages] * 2,
        {"data": [messages] * 2},
    ):
        found, _ = read(tmp_path, value)
        assert [document.turns for document in found] == [_DIALOGUE] * 2
    (alone,), _ = read(tmp_path, messages)
    assert alone.turns == _DIALOGUE
    lines = "\n".join(json.dumps(messages) for _ in range(3))
    assert len(read(tmp_path, lines, "a.jsonl")[0]) == 3


def test_large_items_and_long_lines(tmp_path: Path) -> None:
    texts = ["長い\n" * 20_000, "短い", "別" * 300_000]
    for indent in (None, 1):
        found, _ = read(
            tmp_path, json.dumps([{"text": text, "tags": ["a"] * 50} for text in texts], indent=indent)
        )
        assert [document.text for document in found] == texts


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[\n{"text": "一"},\n{"text": }\n]', "line 3: expected JSON"),
        ('[\n{"text": "一"}\n{"text": "二"}\n]', r"line 3: expected JSON \(',' is missing\)"),
        ('[{"text": "一"}', r"line \d: expected JSON"),
        ('[\n{"text": "一"},\n{"text": 4}\n]', "line 3: expected .* must be a string, got 4"),
        ('{"text": "一"}\n{"body": "二"}', "line 2: expected .*found 'body'"),
        ('{"messages": "二"}', "line 1: expected .*must be a list"),
        ('{"messages": ["二"]}', "line 1: expected"),
        ('{"model": "x", "architectures": ["二"]}', "line 1: expected"),
        ('{"messages": [{"role": "user"}]}', "line 1: expected .*must have content"),
        ("7", "line 1: expected"),
        ('{"\\ud83d": "一"}', r"line 1: expected .*found '\\ud83d'"),
        ('{"messages": [{"role": "\\ud83d", "content": "一"}]}', "line 1: expected .*role must be"),
        ("[" * 5000, "line 1: expected JSON"),
        ('{"text": "一"}\n{"text": "\\ud83d"}', r"line 2: .*\\ud83d is half of a character"),
        ('{"question": "\\ude00?", "answer": "a"}', r"line 1: .*\\ude00 is half of a character"),
    ],
)
def test_what_cannot_be_read_is_told_by_line(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(CorpusError, match=message) as caught:
        read(tmp_path, content)
    str(caught.value).encode()
    assert "a.json" in str(caught.value)


_EMPTY = [
    '{"turns": []}',
    "{}",
    "null",
    "[]",
    '{"text": " \\u3000"}',
    '{"text": null}',
    '{"text": "\\u200b"}',
]
_EMPTY += ['{"question": "", "answer": null}', '{"messages": null}', '{"data": []}']


@pytest.mark.parametrize("row", _EMPTY)
def test_rows_that_hold_nothing_are_counted(tmp_path: Path, row: str) -> None:
    found, tally = read(tmp_path, f'{{"text": "一"}}\n{row}\n', "a.jsonl")
    assert [document.text for document in found] == ["一"]
    assert tally == "read 1 text from 1 file; left out: 1 empty row"
    with pytest.raises(CorpusError, match=r"the corpus holds no text: .*left out: 2 empty rows"):
        read(tmp_path, f"{row}\n{row}\n", "a.jsonl")


def test_half_a_pair_is_no_pair(tmp_path: Path) -> None:
    rows = [{"q": "あ", "a": ""}, {"q": None, "a": "い"}, {"q": _QUESTION, "a": _ANSWER}]
    found, tally = read(tmp_path, rows)
    assert [document.turns for document in found] == [_DIALOGUE]
    assert tally == "read 1 dialogue from 1 file; left out: 2 rows with only half of a pair"


def test_tables_have_the_same_shapes(tmp_path: Path) -> None:
    sharegpt = [{"from": "human", "value": _QUESTION}, {"from": "gpt", "value": _ANSWER}]
    for name, rows in {
        "pairs": [{"id": 1, "質問": _QUESTION, "回答": _ANSWER}, {"id": 2, "質問": None, "回答": None}],
        "sharegpt": [{"id": 1, "conversations": sharegpt}, {"id": 2, "conversations": []}],
        "alpaca": [
            {"instruction": _QUESTION, "input": None, "output": _ANSWER, "text": "x"},
            {"instruction": "", "input": "", "output": "", "text": ""},
        ],
    }.items():
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.Table.from_pylist(rows), path)
        corpus = Corpus([str(path)])
        assert [document.turns for document in corpus] == [_DIALOGUE]
        assert str(corpus.tally) == "read 1 dialogue from 1 file; left out: 1 empty row"


def test_a_table_of_empty_rows_alone_is_an_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["", None]}), tmp_path / "a.parquet")
    with pytest.raises(CorpusError, match="left out: 2 empty rows"):
        read_documents([str(tmp_path / "a.parquet")])


def test_the_examples_of_the_documentation_are_read(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    part = page[page.index("## What is read") : page.index("## Text larger than memory")]
    examples = re.findall(r"\| `(\{.*\})` \|$", part, re.MULTILINE)
    assert len(examples) == 8
    for example in examples:
        (document,), tally = read(tmp_path, example)
        assert document.text == "猫が眠る。" or [turn.role for turn in document.turns] == [
            "user",
            "assistant",
        ]
        assert "left out" not in tally
