"""Licences of texts: what a listing beside them tells, and what a changed file makes of it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.conftest import ROOT
from train.corpus import BUILT_IN, CorpusError, files_of
from train.licences import LISTING, Licence, licences_of, listing, read_listing, summary

pytestmark = pytest.mark.unit


def listed(folder: Path, name: str, licence: str, content: str = "一文です。\n") -> Licence:
    """Write a text and return its entry."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.txt").write_text(content)
    digest = hashlib.sha256(content.encode()).hexdigest()
    return Licence(
        f"{name}.txt", name, licence, "PyPI", {name: "1.0"}, f"{name}.notice", len(content), digest
    )


def write_listing(folder: Path, *licences: Licence) -> None:
    (folder / LISTING).write_text(listing(licences))


def test_a_listing_is_read_as_it_was_written(tmp_path: Path) -> None:
    licences = [listed(tmp_path, name, "CC BY-SA 4.0") for name in ("a", "b")]
    write_listing(tmp_path, *reversed(licences))
    assert read_listing(tmp_path) == licences
    assert read_listing(tmp_path / "none") == []


def test_the_texts_that_are_read_have_their_licences(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    write_listing(one, listed(one, "a", "CC BY-SA 4.0"), listed(one, "b", "GPL 2+"))
    write_listing(two, listed(two, "c", "GPL 2+"))
    (one / "mine.txt").write_text("私の文です。\n")
    names = ["a", "b", "c"]
    assert [entry["source"] for entry in licences_of(files_of([str(tmp_path), "-"]))] == names
    (alone,) = licences_of(files_of([str(one / "a.txt"), str(one / "a.txt"), str(one / "mine.txt")]))
    assert (alone["licence"], alone["packages"], alone["file"]) == ("CC BY-SA 4.0", {"a": "1.0"}, "a.txt")
    assert licences_of([one / "mine.txt"]) == []


def test_a_changed_text_has_no_known_licence(tmp_path: Path) -> None:
    write_listing(tmp_path, listed(tmp_path, "a", "CC BY-SA 4.0"))
    (tmp_path / "a.txt").write_text("別の文です。\n")
    (entry,) = licences_of(files_of([str(tmp_path)]))
    assert entry["licence"] == "unknown: the file has changed since licences.json listed it"
    assert entry["sha256"] == hashlib.sha256((tmp_path / "a.txt").read_bytes()).hexdigest()
    assert "packages" not in entry


@pytest.mark.parametrize("content", ["{", "[1]", '{"a": 1}', '[{"file": "a.txt"}]'])
def test_a_broken_listing_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / LISTING).write_text(content)
    with pytest.raises(CorpusError, match=r"licences\.json does not list the licences"):
        read_listing(tmp_path)


def test_the_built_in_corpus_has_its_licence() -> None:
    (entry,) = licences_of(files_of([str(BUILT_IN)]))
    assert summary([entry]) == "CC0 1.0 (built-in corpus)"
    assert entry["licence"] in (ROOT / entry["notice"]).read_text()


def test_the_summary_names_each_licence_once() -> None:
    entries = [
        {"licence": "X", "source": "a"},
        {"licence": "Y", "source": "b"},
        {"licence": "X", "source": "c"},
    ]
    assert summary(entries) == "X (a, c), Y (b)"
