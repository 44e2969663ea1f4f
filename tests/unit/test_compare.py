"""What two versions are compared on: held out by one training at least, seen by none."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.checkpoint import Checkpoint
from tests.conftest import tiny_config
from train.arguments import TrainingArguments
from train.compare import held_out
from train.corpus import CorpusError, Document, fingerprint, read_documents, split

pytestmark = pytest.mark.unit


def checkpoint(text: Path, validation_fraction: float) -> Checkpoint:
    """What a training on this text leaves behind."""
    documents = read_documents([str(text)])
    arguments = TrainingArguments(texts=(str(text),), validation_fraction=validation_fraction)
    lineage = {"arguments": arguments.to_dict(), "data": {"fingerprint": fingerprint(documents)}}
    return Checkpoint(tiny_config(100), {}, "", lineage)


def write(path: Path, numbers: range) -> Path:
    path.write_text("\n".join(f"これは{number}番目の文書です。" for number in numbers), encoding="utf-8")
    return path


def parts(text: Path, fraction: float) -> tuple[set[Document], set[Document]]:
    train, validation = split(read_documents([str(text)]), fraction)
    return set(train), set(validation)


def test_no_document_was_seen_by_either(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one.txt", range(100)), write(tmp_path / "two.txt", range(50, 200))
    found = set(held_out([checkpoint(one, 0.2), checkpoint(two, 0.2)]))
    (train_one, held_one), (train_two, held_two) = parts(one, 0.2), parts(two, 0.2)
    assert found == (held_one | held_two) - train_one - train_two
    assert found & held_one
    assert found & held_two


def test_the_smaller_share_counts(tmp_path: Path) -> None:
    text = write(tmp_path / "one.txt", range(100))
    found = held_out([checkpoint(text, 0.2), checkpoint(text, 0.05)])
    assert set(found) == parts(text, 0.05)[1]


def test_what_cannot_be_told_is_refused(tmp_path: Path) -> None:
    text = write(tmp_path / "one.txt", range(100))
    known = checkpoint(text, 0.1)
    with pytest.raises(CorpusError, match="does not tell"):
        held_out([known, Checkpoint(tiny_config(100), {}, "", {"data": {}})])
    with pytest.raises(CorpusError, match="no text was held out"):
        held_out([checkpoint(text, 0.0)])
    write(text, range(99))
    with pytest.raises(CorpusError, match="has changed"):
        held_out([known])
