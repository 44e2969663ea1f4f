"""A reply that grows: however the engine's steps cut it, the same text, tokens and counts come out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.choices import Choice, Piece
from handler.exchange import Exchange
from handler.generation import Generation, Prompt
from handler.metrics import Metrics
from handler.neuroq_api import NeuroqApi
from handler.pieces import Pieces
from handler.vocabulary import Vocabulary
from model.engine import Progress
from model.sampling import SamplingParams, TokenLogprobs
from model.tokenizer import Tokenizer

pytestmark = pytest.mark.unit
_IDS = st.lists(st.integers(7, 400), min_size=1, max_size=40)
_CUTS = st.lists(st.integers(0, 6), min_size=1, max_size=40)
_STOP = st.lists(st.sampled_from(["。", "、", "です", "あ", "\x00", "AI"]), max_size=2)


@pytest.fixture(scope="session")
def vocabulary(tokenizer: Tokenizer) -> Vocabulary:
    return Vocabulary(tokenizer)


def grow(
    vocabulary: Vocabulary, ids: list[int], cuts: list[int], stop: list[str], reason: str
) -> tuple[Choice, list[Piece]]:
    """Feed ids in steps of the sizes `cuts`, over and over; return the choice and the pieces it gave."""
    choice = Choice(0, 0, 1, Pieces(stop), vocabulary)
    pieces, at, step = [], 0, 0
    while choice.finish_reason is None:
        size = cuts[step % len(cuts)] if step < 100 else 1
        new, at, step = ids[at : at + size], at + size, step + 1
        logprobs = [TokenLogprobs(-float(i), ((i, -float(i)), (0, -99.0))) for i in new]
        choice.accept(Progress(new, reason if at >= len(ids) else None, logprobs, cached_tokens=3))
        piece = choice.take()
        if piece is not None:
            pieces.append(piece)
    return choice, pieces


@given(_IDS, _CUTS, _STOP)
def test_steps_do_not_matter(
    vocabulary: Vocabulary, ids: list[int], cuts: list[int], stop: list[str]
) -> None:
    at_once, _ = grow(vocabulary, ids, [len(ids)], stop, "length")
    choice, pieces = grow(vocabulary, ids, cuts, stop, "length")
    assert choice.whole == at_once.whole
    assert choice.whole.text == "".join(piece.text for piece in pieces)
    assert (choice.num_tokens, choice.finish_reason) == (at_once.num_tokens, at_once.finish_reason)
    assert not any(s in choice.whole.text for s in stop)


@given(_IDS, _CUTS, _STOP)
def test_the_tokens_spell_the_text(
    tokenizer: Tokenizer, vocabulary: Vocabulary, ids: list[int], cuts: list[int], stop: list[str]
) -> None:
    choice, pieces = grow(vocabulary, ids, cuts, stop, "stop")
    tokens = choice.whole.tokens
    assert [t.logprob for t in tokens] == [-float(i) for i in ids[: len(tokens)]]
    assert tokenizer.decode(ids[: len(tokens)]).startswith(choice.whole.text.rstrip("\ufffd"))
    if choice.num_tokens == len(ids) and not any(s in tokenizer.decode(ids) for s in stop):
        assert len(tokens) == len(ids)
    assert [t.offset for t in tokens] == sorted(t.offset for t in tokens)
    assert all(piece.text or piece.tokens for piece in pieces)


def test_usage_counts_each_prompt_once_and_each_reply(vocabulary: Vocabulary) -> None:
    generation = Generation((Prompt("a"), Prompt("b")), SamplingParams(), num_choices=2)
    exchange = Exchange("r", NeuroqApi("1.0", None), generation, 0.0, True, Metrics(1, lambda: 0).arrived())
    for index, num_prompt in enumerate((5, 5, 7, 7)):
        choice = Choice(index, 0, num_prompt, Pieces(), vocabulary)
        choice.accept(Progress([300] * (index + 1), "length", None, cached_tokens=index))
        exchange.choices.append(choice)
    assert exchange.is_finished
    assert exchange.usage() == {
        "prompt_tokens": 12,
        "completion_tokens": 10,
        "total_tokens": 22,
        "prompt_tokens_details": {"cached_tokens": 2},
    }


def test_the_seeds_of_several_replies_follow_each_other() -> None:
    generation = Generation((Prompt("a"), Prompt("b")), SamplingParams(), num_choices=3)
    assert [generation.params_of(i, 10).seed for i in range(6)] == [10, 11, 12, 10, 11, 12]
    assert generation.params_of(1, 2**63 - 1).seed == 0
