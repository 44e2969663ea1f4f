"""Real Japanese text from outside the project, where it lies beside the checkout."""

from __future__ import annotations

import pytest

from model.tokenizer import Tokenizer
from tests.conftest import SHARED_DATA
from train.corpus import read_documents

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not SHARED_DATA.is_dir(), reason=f"no text in {SHARED_DATA}"),
]


@pytest.mark.parametrize(
    ("name", "least", "style"),
    [
        ("dialogue.jsonl", 2000, "dialogue"),
        ("narrative.txt", 50, "text"),
        ("ita.txt", 300, "text"),
        ("rohan4600.txt", 4000, "text"),
    ],
)
def test_it_is_read_as_documents_and_survives_the_tokenizer(
    tokenizer: Tokenizer, name: str, least: int, style: str
) -> None:
    documents = read_documents([str(SHARED_DATA / name)])
    assert len(documents) >= least
    assert all(bool(document.turns) is (style == "dialogue") for document in documents)
    for document in documents[:40]:
        for line in document.lines:
            assert tokenizer.decode(tokenizer.encode(line)) == line
            assert not tokenizer.stop_ids & set(tokenizer.encode(line))
