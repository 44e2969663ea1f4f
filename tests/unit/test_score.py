from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from model.tokenizer import Tokenizer
from tests.conftest import tiny_model
from train.corpus import Document
from train.encoded import encode
from train.score import Bounds, _windows, score

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("length", [4, 5, 8, 64])
@pytest.mark.parametrize("size", [2, 4, 5, 6, 9, 23])
def test_each_token_is_scored_once(size: int, length: int) -> None:
    scored = []
    for ids, skip in _windows(np.arange(size), length):
        assert 2 <= len(ids) <= length + 1
        scored += ids[skip + 1 :].tolist()
    assert scored == list(range(1, size))


def test_a_short_document_is_its_likelihood(tokenizer: Tokenizer) -> None:
    model, document = tiny_model(tokenizer.vocab_size), Document(text="こんにちは、元気ですか。")
    ids = torch.tensor([document.encode(tokenizer)])
    nats = F.cross_entropy(model(ids[:, :-1])[0], ids[0, 1:], reduction="sum").item()
    result = score(model, encode([document], tokenizer))
    assert result.bits == pytest.approx(nats / math.log(2), rel=1e-4)
    assert result.bits_per_char == pytest.approx(nats / math.log(2) / (len(document.text) + 1), rel=1e-4)


def test_the_company_changes_nothing(tokenizer: Tokenizer, documents: list[Document]) -> None:
    model, few = tiny_model(tokenizer.vocab_size), documents[:7]
    together = score(model, encode(few, tokenizer))
    alone = sum(score(model, [document]).bits for document in encode(few, tokenizer))
    assert together.bits == pytest.approx(alone, rel=1e-4)


def test_where_time_is_short_a_sample_is_scored_and_counted(tokenizer: Tokenizer) -> None:
    model = tiny_model(tokenizer.vocab_size)
    documents = encode([Document(text="吾輩は猫である。名前はまだ無い。" * 600)], tokenizer)
    whole = score(model, documents)
    assert whole.num_tokens == documents.num_predicted
    assert whole.num_characters == documents.num_characters
    sample = score(model, documents, Bounds(num_batches=2))
    assert 0 < sample.num_tokens < whole.num_tokens / 2
    assert sample.num_characters / sample.num_tokens == pytest.approx(
        whole.num_characters / whole.num_tokens, rel=0.01
    )
    assert sample.bits_per_char == pytest.approx(whole.bits_per_char, rel=0.1)
    late = score(model, documents, Bounds(until=0.0))  # one batch is always scored
    assert late.num_batches == 1
    assert score(model, documents, Bounds(until=1e12)).bits == pytest.approx(whole.bits, rel=1e-4)
