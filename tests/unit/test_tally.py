from __future__ import annotations

from pathlib import Path

import pytest

from model.dialogue import Turn
from train.arguments import TrainingArguments
from train.data import load_data
from train.document import Document
from train.preview import preview
from train.tally import LeftOut, Tally

pytestmark = pytest.mark.unit


def test_the_line_counts_and_names() -> None:
    tally = Tally()
    for _ in range(60):
        tally.take(Document(turns=(Turn("user", "a"), Turn("assistant", "b"))))
    for _ in range(3):
        tally.take(Document(text="a"))
    tally.num_files = 2
    assert str(tally) == "read 60 dialogues and 3 texts from 2 files"
    tally.leave_out(LeftOut.SYSTEM, 4)
    tally.leave_out(LeftOut.EMPTY_ROW, 2)
    tally.leave_out_file("notes.docx", "not a text")
    assert str(tally) == (
        "read 60 dialogues and 3 texts from 2 files; "
        "left out: 2 empty rows, 4 system messages, notes.docx (not a text)"
    )


def test_many_files_are_counted() -> None:
    tally = Tally()
    for number in range(7):
        tally.leave_out_file(f"{number}.pdf", "not a text")
    assert tally.left_out.endswith("4.pdf (not a text), 2 other files")
    assert str(tally).startswith("read 0 texts from 0 files")


def data(folder: Path, text: str) -> list[str]:
    (folder / "a.txt").write_text(text, encoding="utf-8")
    arguments = TrainingArguments(
        texts=(str(folder / "a.txt"),), checkpoint_path=str(folder / "c.pt"), vocab_size=400
    )
    said: list[str] = []
    load_data(arguments, said.append)
    return said


def test_a_run_says_once_what_it_read(tmp_path: Path) -> None:
    said = data(tmp_path, "\n".join(f"{number}番目の文です。" for number in range(100)))
    assert [line for line in said if line.startswith("read ")] == ["read 100 texts from 1 file"]
    assert said[-1] == "95 documents to train on, 5 held out for validation"
    assert not any("nothing is held out" in line for line in said)


def test_a_run_says_when_nothing_is_held_out(tmp_path: Path) -> None:
    half = "\n".join(f"{number}番目の文です。" for number in range(200))
    said = data(tmp_path, f"{half}\n\u3000\n{half}別")
    assert "nothing is held out: no document is so small a part of the text as 5.00%" in said
    assert said[-1] == "2 documents to train on, 0 held out for validation"


def test_a_dry_run_shows_what_would_be_learned(tmp_path: Path) -> None:
    (tmp_path / "faq.csv").write_text(
        "".join(f"これは{n}ですか?,はい、{n}です。\n" for n in range(7)), encoding="cp932"
    )
    (tmp_path / "long.txt").write_text("\n".join("長" * 300 for _ in range(9)) + "\n\n終わり")
    said: list[str] = []
    assert preview([str(tmp_path / "faq.csv")], said.append) == 0
    assert said[0].startswith("read 7 dialogues from 1 file")
    assert said[1:4] == ["--- 1", "user: これは0ですか？", "assistant: はい、0です。"]
    assert "user: これは5ですか？" not in said
    assert preview([str(tmp_path / "long.txt")], said.append) == 0
    assert "長" * 100 + "…" in said
    assert "… and 5 more lines" in said
    assert preview([str(tmp_path / "none.txt")], said.append) == 1
    assert said[-1] == f"train: {tmp_path / 'none.txt'} cannot be read: No such file or directory"
    assert preview([], said.append) == 0
