"""The cache holds what was encoded, is made anew when something changed, and is never half there."""

from __future__ import annotations

import hashlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from model.tokenizer import Tokenizer
from train import token_cache
from train.arguments import TrainingArguments
from train.corpus import Document, fingerprint, read_documents, split
from train.data import Data, load_data
from train.document import CorpusError
from train.encoded import EncodedDocument, EncodedDocuments
from train.token_cache import CacheKey, TokenCache, cache_path, find_cache, write_cache

pytestmark = pytest.mark.unit
KEY = CacheKey("text", 0.1, "tokenizer")


def encoded(*lengths: int) -> list[EncodedDocument]:
    return [
        EncodedDocument(np.arange(length) * 7, number % 2 == 0, 10 * number, number)
        for number, length in enumerate(lengths)
    ]


def same(one: EncodedDocument, two: EncodedDocument) -> bool:
    rest = [(d.is_dialogue, d.num_characters, d.key) for d in (one, two)]
    return np.array_equal(one.ids, two.ids) and rest[0] == rest[1]


def write(path: Path, documents: list[EncodedDocument], vocab_size: int = 1000) -> TokenCache:
    pairs = ((document, document.key == 1) for document in documents)
    return write_cache(path, KEY, pairs, vocab_size=vocab_size, stamp=None)


@pytest.mark.parametrize("vocab_size", [1000, 100_000])
@pytest.mark.parametrize("shard_bytes", [1, 64, 1 << 20])
def test_what_is_written_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vocab_size: int, shard_bytes: int
) -> None:
    monkeypatch.setattr(token_cache, "_SHARD_BYTES", shard_bytes)
    monkeypatch.setattr(token_cache, "_HELD_ENTRIES", 2)
    documents = encoded(5, 17, 40, 2, 30)
    write(tmp_path, documents, vocab_size)
    cache = find_cache(tmp_path, KEY)
    assert cache
    train = [d for d in documents if d.key != 1]
    assert all(map(same, cache.train, train))
    assert (len(cache.train), len(cache.validation)) == (4, 1)
    assert same(cache.validation[0], documents[1])
    assert cache.train.ids(1, 3, 9).tolist() == train[1].ids[3:9].tolist()
    assert cache.train.ids(1, 38, 99).tolist() == train[1].ids[38:].tolist()
    assert cache.train.lengths.tolist() == [5, 40, 2, 30]
    assert cache.train.num_predicted == 4 + 39 + 1 + 29
    assert cache.train.num_characters == 0 + 20 + 30 + 40
    assert [d.key for d in cache.train.sample(2)] == [0, 2]
    held = EncodedDocuments.of(train)  # the same in memory
    assert all(map(same, held, cache.train))


def test_a_part_may_be_empty(tmp_path: Path) -> None:
    cache = write(tmp_path, encoded(5))
    assert (len(cache.train), len(cache.validation)) == (1, 0)
    assert cache.validation.sample(3) == []


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> Iterator[tuple[EncodedDocument, bool]]:
        yield encoded(5)[0], False
        raise CorpusError("the text is broken")

    with pytest.raises(CorpusError, match="broken"):
        write_cache(tmp_path, KEY, failing(), vocab_size=10, stamp=None)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the size of a file fails a write as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(CorpusError, match=r"the token cache .* cannot be written: File too large"):
            write(tmp_path, encoded(*[1000] * 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_is_not_whole_is_not_used(tmp_path: Path) -> None:
    folder = write(tmp_path, encoded(5, 6)).folder
    shard = next(folder.glob("train-*.ids"))
    shard.write_bytes(shard.read_bytes()[:-1])
    assert find_cache(tmp_path, KEY) is None
    with pytest.raises(CorpusError, match="is not whole"):
        TokenCache.open(folder)
    with pytest.raises(CorpusError, match="must see the folder of the checkpoint"):
        TokenCache.open(tmp_path / "elsewhere")


def digests(data: Data) -> list[str]:
    return [hashlib.sha256(d.ids.tobytes()).hexdigest() for d in data.train]


@pytest.fixture
def arguments(tmp_path: Path, documents: list[Document]) -> TrainingArguments:
    text = tmp_path / "text.txt"
    text.write_text("\n".join(d.text for d in documents if d.text.strip() and "\n" not in d.text))
    return TrainingArguments(
        texts=(str(text),), checkpoint_path=str(tmp_path / "c.pt"), vocab_size=600, validation_fraction=0.1
    )


def test_a_run_encodes_the_split_of_its_text(arguments: TrainingArguments) -> None:
    data = load_data(arguments, lambda _: None)
    texts = read_documents(arguments.texts)
    train, validation = split(texts, 0.1)
    assert data.fingerprint == fingerprint(texts)
    for part, expected in ((data.train, train), (data.validation, validation)):
        assert len(expected) > 10
        assert [d.ids.tolist() for d in part] == [d.encode(data.tokenizer) for d in expected]
        assert part.num_characters == sum(d.num_characters for d in expected)


def test_a_run_that_goes_on_reads_the_text_only_when_it_may_have_changed(
    arguments: TrainingArguments, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_data(arguments, lambda _: None, tokenizer)
    with monkeypatch.context() as patched:
        patched.setattr("train.data.survey", None)  # reading would fail
        again = load_data(arguments, lambda _: None, tokenizer, first.fingerprint)
        assert digests(again) == digests(first)
    text = Path(arguments.texts[0])
    os.utime(text, (0, 0))
    touched = load_data(arguments, lambda _: None, tokenizer, first.fingerprint)
    assert touched.cache.folder == first.cache.folder  # the same text
    text.write_text("別の文章です。\nもう一つ。", encoding="utf-8")
    with pytest.raises(CorpusError, match="the text has changed"):
        load_data(arguments, lambda _: None, tokenizer, first.fingerprint)
    other = load_data(arguments, lambda _: None, tokenizer)
    assert [folder.name for folder in cache_path(Path(arguments.checkpoint_path)).iterdir()] == [
        other.cache.folder.name
    ]
