"""What a text is mixed with: so many variants of it that the rehearsal has its share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from model.dialogue import Turn
from train.arguments import TrainingArguments
from train.corpus import BUILT_IN, read_documents
from train.data import load_data
from train.document import Document
from train.mixture import MOST_COPIES, MOST_REHEARSED, Mixture, mixture_key

pytestmark = pytest.mark.unit
PAIRS = [
    Document(turns=(Turn("user", f"{i}番の本はどこですか"), Turn("assistant", f"{i * 7}段目です。" * 15)))
    for i in range(60)
]


def test_a_text_alone_stays_as_it_is() -> None:
    mixture = Mixture.of(TrainingArguments(), PAIRS)
    assert [list(mixture.copies(document)) for document in PAIRS] == [[document] for document in PAIRS]
    assert list(mixture.rehearsed()) == []
    assert mixture_key(TrainingArguments()) == ""


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_the_rehearsal_has_its_share(share: float) -> None:
    mixture = Mixture.of(TrainingArguments(rehearsal=share), PAIRS)
    own = sum(copy.num_characters for document in PAIRS for copy in mixture.copies(document))
    rehearsed = sum(document.num_characters for document in mixture.rehearsed())
    assert rehearsed == pytest.approx(MOST_REHEARSED, rel=0.05)
    assert any("申し訳ありませんが" in document.turns[1].text for document in mixture.rehearsed())
    assert rehearsed / (own + rehearsed) == pytest.approx(share, abs=0.03)  # copies are whole


def test_what_the_text_answers_is_not_refused_in_the_rehearsal() -> None:
    refused = next(d for d in Mixture(1, False, 1.0, 0).rehearsed() if "分かりません" in d.turns[1].text)
    question = refused.turns[0].text
    own = [Document(turns=(Turn("user", f"{question}？"), Turn("assistant", "9時です。")))]
    rehearsed = list(Mixture.of(TrainingArguments(rehearsal=0.5), own).rehearsed())
    assert refused not in rehearsed
    assert len(rehearsed) > 3000


def test_a_tiny_text_is_not_repeated_without_end() -> None:
    mixture = Mixture.of(TrainingArguments(rehearsal=0.5, vary=True), PAIRS[:1])
    copies = list(mixture.copies(PAIRS[0]))
    assert len(copies) == MOST_COPIES
    assert len({copy.turns[0].text for copy in copies}) > 20
    assert copies == list(mixture.copies(PAIRS[0]))
    assert copies != list(replace(mixture, seed=1).copies(PAIRS[0]))


def test_a_run_trains_on_the_mixture_and_finds_it_again(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("猫がいます。\n" * 300, encoding="utf-8")
    places = {"texts": (str(tmp_path / "a.txt"),), "checkpoint_path": str(tmp_path / "c.pt")}
    arguments = TrainingArguments(vocab_size=400, rehearsal=0.9, validation_fraction=0.0, **places)  # type: ignore[arg-type]
    data = load_data(arguments, print)
    folders = [str(BUILT_IN / "conversation"), str(BUILT_IN / "knowledge")]
    dialogues = sum(bool(document.turns) for document in read_documents(folders))
    share = Mixture.of(arguments, read_documents(arguments.texts)).rehearsed_share
    assert int(data.train.is_dialogue.sum()) == pytest.approx(share * dialogues, rel=0.05)
    assert data.style == "dialogue"
    again = load_data(arguments, print, data.tokenizer, data.fingerprint)
    assert again.cache.folder == data.cache.folder
    other = load_data(replace(arguments, rehearsal=0.0), print, data.tokenizer)
    assert not other.train.is_dialogue.any()
