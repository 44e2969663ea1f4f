"""Text in pieces: whole characters, no part of a stop string, and joined exactly the unstreamed text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.pieces import Pieces
from handler.vocabulary import Vocabulary
from model.tokenizer import Tokenizer

pytestmark = pytest.mark.unit
_FIRST_BYTE = 7  # SentencePiece's byte symbols follow the special ones
_BYTES = st.integers(_FIRST_BYTE, _FIRST_BYTE + 255)
_HALVES = st.sampled_from([_FIRST_BYTE + b for b in "あ𩸽é".encode()])  # often whole characters, often not
_IDS = st.lists(st.integers(0, 1499) | _BYTES | _HALVES, max_size=60)


@pytest.fixture(scope="session")
def vocabulary(tokenizer: Tokenizer) -> Vocabulary:
    return Vocabulary(tokenizer)


def read(datas: list[bytes], stop: tuple[str, ...] = (), every: int = 1) -> tuple[list[str], int]:
    """The pieces when they are taken after every so many tokens, and the number of tokens used."""
    pieces, taken = Pieces(stop), []
    for number, data in enumerate(datas, 1):
        pieces.add(data)
        if number % every == 0:
            taken.append(pieces.take())
        if pieces.is_stopped:
            return [*taken, pieces.take()], number
    pieces.end()
    return [*taken, pieces.take()], len(datas)


@given(_IDS, st.integers(1, 9))
def test_joined_pieces_are_the_tokenizers_text(
    tokenizer: Tokenizer, vocabulary: Vocabulary, ids: list[int], every: int
) -> None:
    ids = [i % tokenizer.vocab_size for i in ids]
    pieces, _ = read([vocabulary.data(i) for i in ids], every=every)
    assert "".join(pieces) == tokenizer.decode(ids)


@given(st.text(max_size=30), st.integers(1, 5))
def test_a_character_is_never_cut(text: str, every: int) -> None:
    text = text.encode(errors="ignore").decode().rstrip("\ufffd")
    pieces, _ = read([bytes([byte]) for byte in text.encode()], every=every)
    assert "".join(pieces) == text
    assert "\ufffd" in text or not any("\ufffd" in piece for piece in pieces)


@given(
    st.lists(st.text("ab。\ufffd", max_size=3), max_size=20),
    st.lists(st.text("ab。", min_size=1, max_size=5), min_size=1, max_size=4),
    st.integers(1, 5),
)
def test_no_part_of_a_stop_string_is_shown(tokens: list[str], stop: list[str], every: int) -> None:
    """Against the obvious way: read all text token by token and look for stop strings each time."""
    expected, num_used = "".join(tokens).rstrip("\ufffd"), len(tokens)
    for count in range(1, len(tokens) + 1):
        text = "".join(tokens[:count])
        found = [at for at in map(text.find, stop) if at >= 0]
        if found:
            expected, num_used = text[: min(found)], count
            break
    pieces, used = read([token.encode() for token in tokens], tuple(stop), every)
    assert ("".join(pieces), used) == (expected, num_used)
    once, _ = read([token.encode() for token in tokens], tuple(stop), every=10**9)
    assert "".join(once) == expected


def test_what_may_become_a_stop_string_waits() -> None:
    pieces = Pieces(["<end>"])
    shown = []
    for token in ("a<", "en", "x", "<end", ">"):
        pieces.add(token.encode())
        shown.append(pieces.take())
    assert shown == ["a", "", "<enx", "", ""]
    assert pieces.is_stopped


def test_the_work_for_a_token_does_not_grow_with_the_text() -> None:
    """Ten times the tokens, ten times the time: also for bytes that are no characters."""

    def seconds(count: int, data: bytes) -> float:
        pieces = Pieces(["never", "あ" * 100])
        start = time.thread_time()
        for _ in range(count):
            pieces.add(data)
            pieces.take()
        return time.thread_time() - start

    for data in ("文字".encode(), b"\xe3"):
        seconds(1000, data)
        few, many = min(seconds(2000, data) for _ in range(3)), min(seconds(20_000, data) for _ in range(3))
        assert many < 30 * few


def test_names_of_tokens(tokenizer: Tokenizer, vocabulary: Vocabulary) -> None:
    assert vocabulary.name(tokenizer.end_of_turn_id) == "<EOT>"
    assert vocabulary.data(tokenizer.end_of_turn_id) == b""
    assert vocabulary.name(_FIRST_BYTE + 0xE3) == r"bytes:\xe3"
    assert vocabulary.name(_FIRST_BYTE + 0x41) == "A"
    assert vocabulary.data(_FIRST_BYTE + 0xE3) == b"\xe3"
    assert vocabulary.name(1) == tokenizer.decode([1]) == " ⁇ "
