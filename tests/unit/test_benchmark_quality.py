"""The quality benchmark holds out what the anchors hold out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.quality.parts import (
    DIALOGUES,
    SENTENCES,
    STORIES,
    hold_out_dialogues,
    hold_out_stories,
    write_parts,
)
from tests.conftest import ROOT
from train.corpus import read_documents

pytestmark = pytest.mark.unit
DATA = ROOT.parent / "shared" / "data"


def test_every_third_short_story_until_there_is_enough() -> None:
    stories = ["長" * 7000, *("短" * 5000 for _ in range(40))]
    assert hold_out_stories(stories) == {1, 4, 7, 10, 13, 16, 19}


def test_the_last_dialogues_until_there_is_enough() -> None:
    record = json.dumps({"turns": [{"role": "user", "text": "あ" * 994}]})
    assert hold_out_dialogues([record] * 300) == set(range(100, 133))


def test_no_document_is_in_both_parts_and_none_is_lost(tmp_path: Path) -> None:
    if not DATA.is_dir():
        pytest.skip("the development text is not here")
    parts = write_parts(DATA, tmp_path)
    training, validation = (
        {document.digest for document in read_documents([str(part)])}
        for part in (parts.training, parts.validation)
    )
    files = [str(DATA / name) for name in (DIALOGUES, STORIES, *SENTENCES)]
    everything = {document.digest for document in read_documents(files)}
    assert not training & validation
    assert training | validation == everything
    scored = sum(document.num_characters for document in read_documents([str(parts.validation)]))
    assert 55_000 < scored < 75_000
