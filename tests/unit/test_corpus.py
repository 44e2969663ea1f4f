from __future__ import annotations

import io
import json
import math
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from train.answers import REFUSAL
from train.corpus import BUILT_IN, CorpusError, Document, fingerprint, read_documents, split
from train.remembering.__main__ import COUNT, SEED
from train.remembering.__main__ import write as write_remembering

pytestmark = pytest.mark.unit
GENERATED = BUILT_IN / "conversation" / "remembering.jsonl"
_PUNCTUATION = re.compile(r"[\s、。！？!?「」]")


def bigrams(text: str) -> frozenset[str]:
    text = _PUNCTUATION.sub("", text)
    return frozenset(text[i : i + 2] for i in range(max(1, len(text) - 1)))


def near_duplicates(texts: list[str], least: float = 0.7) -> list[tuple[str, str]]:
    """Texts whose character pairs overlap with an earlier text's by at least `least` (Jaccard).

    Two such texts share one of their rarest pairs at least, so that only these are looked up (prefix
    filtering, Chaudhuri et al. 2006).
    """
    sets = [bigrams(text) for text in texts]
    frequency = Counter(pair for pairs in sets for pair in pairs)
    seen: dict[str, list[int]] = defaultdict(list)
    found = []
    for number, pairs in enumerate(sets):
        num_rare = len(pairs) - math.ceil(least * len(pairs)) + 1
        rarest = sorted(pairs, key=lambda pair: (frequency[pair], pair))[:num_rare]
        for other in sorted({other for pair in rarest for other in seen[pair]}):
            if len(pairs & sets[other]) >= least * len(pairs | sets[other]):
                found.append((texts[other], texts[number]))
                break
        for pair in rarest:
            seen[pair].append(number)
    return found


def records() -> Iterator[tuple[Path, dict[str, Any]]]:
    """Each record of the corpus as it is written, with its file: a dialogue once, in all its wordings."""
    for path in sorted(BUILT_IN.rglob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            yield path, json.loads(line)


def test_the_built_in_corpus_is_large_and_varied() -> None:
    """What was written; the generated dialogues are alike by design, and few."""
    dialogues = [record["turns"] for _, record in records() if "turns" in record]
    written = [record["turns"] for path, record in records() if "turns" in record and path != GENERATED]
    turns = [turn["text"] for dialogue in written for turn in dialogue]
    prose = [record["text"] for _, record in records() if "text" in record]
    sentences = [s for text in prose for s in re.findall(r"[^。！？]+[。！？]+", text)]
    num_drawn = sum(map(len, dialogues)) - len(turns)
    assert len(turns) + num_drawn >= 20_000
    assert num_drawn <= (len(turns) + num_drawn) / 5
    assert len(sentences) >= 3000
    assert sum(len(dialogue) > 2 for dialogue in dialogues) >= 0.4 * len(dialogues)
    for texts in (turns, sentences):
        assert len(near_duplicates(texts)) < 0.02 * len(texts), near_duplicates(texts)
    assert all([t["role"] for t in d] == ["user", "assistant"] * (len(d) // 2) for d in dialogues)


def test_most_questions_stand_in_many_wordings() -> None:
    first = [record["turns"][0] for _, record in records() if "turns" in record]
    asked = [[turn["text"], *turn["wordings"]] for turn in first if "wordings" in turn]
    assert sum(len(wordings) >= 6 for wordings in asked) >= 3000
    assert all(len(set(wordings)) == len(wordings) for wordings in asked)


def test_the_generated_dialogues_are_what_the_program_writes(tmp_path: Path) -> None:
    again = tmp_path / GENERATED.name
    write_remembering(again, SEED, COUNT)
    assert again.read_bytes() == GENERATED.read_bytes()


def test_the_corpus_often_says_that_it_does_not_know() -> None:
    turns = [turn for _, record in records() for turn in record.get("turns", [])]
    refusals = [turn for turn in turns if turn["role"] == "assistant" and REFUSAL.search(turn["text"])]
    assert 2 * len(refusals) >= 1500  # a question and its reply


def test_the_corpus_states_its_licence() -> None:
    assert "CC0 1.0" in (BUILT_IN / "LICENSE").read_text()


def test_near_duplicates_are_found() -> None:
    assert near_duplicates(["今日は雨が降りますか", "今日は雨が降りますかね", "猫が好きです"]) == [
        ("今日は雨が降りますか", "今日は雨が降りますかね")
    ]


def write(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def test_blank_lines_part_the_documents_of_a_text(tmp_path: Path) -> None:
    parted = read_documents([write(tmp_path, "a.txt", "一\n二\n\n三\n")])
    assert [document.text for document in parted] == ["一\n二", "三"]
    lines = read_documents([write(tmp_path, "b.txt", "\ufeff一\r\n二\r\n")])
    assert [document.text for document in lines] == ["一", "二"]


def test_dialogues_and_texts_of_json_lines(tmp_path: Path) -> None:
    records = [
        {"id": "x", "turns": [{"role": "user", "text": "はい"}, {"role": "assistant", "text": "どうぞ"}]},
        {"messages": [{"role": "user", "content": "はい"}, {"role": "assistant", "content": "どうぞ"}]},
        {"text": "文です。"},
    ]
    source = write(tmp_path, "a.jsonl", "\n".join(json.dumps(record) for record in records) + "\n")
    first, second, third = read_documents([source])
    assert first == second
    assert third.text == "文です。"
    assert first.num_characters == len("はい") + 1 + len("どうぞ") + 1
    assert third.num_characters == len("文です。") + 1


@pytest.mark.parametrize("content", ["一行目\n二行目\n", '{"text": "一行目"}\n{"text": "二行目"}\n'])
def test_standard_input(content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    assert [document.text for document in read_documents(["-"])] == ["一行目", "二行目"]


def test_a_folder_is_all_its_files(tmp_path: Path) -> None:
    write(tmp_path, "a.txt", "一")
    write(tmp_path, "b.jsonl", '{"text": "二"}')
    write(tmp_path, "c.md", "三")
    assert [document.text for document in read_documents([str(tmp_path)])] == ["一", "二"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", "holds no text"),
        ("a.txt", " \n \n", "holds no text"),
        ("a.txt", "一\n".encode() + b"\xff\xfe", "line 2: not UTF-8"),
        ("a.jsonl", '{"text": "一"}\n{"text": }', "line 2: expected"),
        ("a.jsonl", '{"turns": [{"role": "robot", "text": "x"}]}', "role must be user or assistant"),
        ("a.jsonl", '{"text": 3}', "line 1: expected"),
        ("a.jsonl", "[1]", "line 1: expected"),
        ("a.pdf", "x", "a corpus is a .txt or .jsonl file"),
    ],
)
def test_a_bad_corpus_is_told_by_file_and_line(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(CorpusError, match=message):
        read_documents([write(tmp_path, name, content)])


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"none\.txt cannot be read"):
        read_documents([str(tmp_path / "none.txt")])


def test_the_split_keeps_documents_whole_and_apart(documents: list[Document]) -> None:
    train, validation = split(documents, 0.1)
    assert len(validation) == pytest.approx(0.1 * len(documents), abs=2)
    assert not {d.digest for d in train} & {d.digest for d in validation}
    assert len(train) + len(validation) == len(documents)
    assert split(list(reversed(documents)), 0.1)[1] == list(reversed(validation))  # by content alone


def test_the_split_of_few_documents() -> None:
    one = [Document(text="一")]
    assert split(one, 0.5) == (one, [])
    two = [Document(text="一"), Document(text="二")]
    assert [len(part) for part in split(two, 0.05)] == [1, 1]
    assert split([Document(text="同")] * 3, 0.5)[1] == []  # the same text is never on both sides
    assert split(two, 0.0) == (two, [])


def test_the_fingerprint_knows_order_and_roles() -> None:
    one, two = Document(text="一"), Document(text="二")
    assert fingerprint([one, two]) != fingerprint([two, one])
