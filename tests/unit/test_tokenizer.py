from __future__ import annotations

import io
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from model.dialogue import Turn, encode_dialogue, encode_prompt, encode_turn
from model.text import normalize
from model.tokenizer import MARKERS, Tokenizer, TokenizerError
from train.corpus import CorpusError, Document
from train.tokenizer import _pieces, affordable_vocab_size, train_tokenizer

pytestmark = pytest.mark.unit
_PIECES = st.sampled_from(
    [*MARKERS, "<s>", "</s>", "<pad>", "<unk>", "<0x41>", "<", "USER", ">", "<USER", " ", "\n"]
)
_TEXT = st.lists(_PIECES | st.text(max_size=8), max_size=12).map("".join)


@pytest.mark.parametrize("marker", MARKERS)
def test_a_marker_is_one_symbol(tokenizer: Tokenizer, marker: str) -> None:
    assert len(tokenizer._processor.encode(marker)) == 1


@given(_TEXT)
def test_no_text_can_inject_a_special_symbol(tokenizer: Tokenizer, text: str) -> None:
    assert not tokenizer.stop_ids & set(tokenizer.encode(text))


@given(_TEXT)
def test_text_survives_encoding(tokenizer: Tokenizer, text: str) -> None:
    text = normalize(text).rstrip("\ufffd")  # an incomplete character at the end is dropped
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_the_sign_that_sentencepiece_spells_a_blank_with_comes_back(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("a▁b c")
    assert tokenizer.decode(ids) == "a▁b c"
    assert b"".join(map(tokenizer.token_bytes, ids)).decode() == "a▁b c"


@pytest.mark.parametrize("other", ["ﾊﾞﾅﾅは１２円?", "ハ\u3099ナナは12円？", "バナナは１２円？\u200b"])
def test_forms_of_one_text_have_the_same_ids(tokenizer: Tokenizer, other: str) -> None:
    assert tokenizer.encode(other) == tokenizer.encode("バナナは12円？")
    turn = encode_turn(tokenizer, Turn("user", f"\u3000{other}\r\n"))
    assert turn == encode_turn(tokenizer, Turn("user", "バナナは12円？"))


def test_unknown_characters_fall_back_to_bytes(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("𩸽")
    assert len(ids) == 4
    assert tokenizer.decode(ids) == "𩸽"
    assert tokenizer.decode(ids[:3]) == ""


def test_the_same_text_gives_the_same_tokenizer(documents: list[Document]) -> None:
    assert train_tokenizer(documents[:100], 800).sha256 == train_tokenizer(documents[:100], 800).sha256


def test_a_small_text_gets_fewer_symbols(documents: list[Document]) -> None:
    few = documents[:30]
    size = affordable_vocab_size(8000, few)
    assert size < 8000
    assert train_tokenizer(few, size).vocab_size <= size
    assert affordable_vocab_size(500, documents) == 500


def test_a_single_line_can_carry_a_tokenizer() -> None:
    document = Document(text="こんにちは")
    tokenizer = train_tokenizer([document], affordable_vocab_size(8000, [document]))
    assert tokenizer.decode(tokenizer.encode("さようなら")) == "さようなら"


def test_a_missing_tokenizer_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="cannot read the tokenizer"):
        Tokenizer.load(tmp_path / "none.model")


def test_rubbish_is_not_a_tokenizer() -> None:
    with pytest.raises(TokenizerError, match="not a SentencePiece model"):
        Tokenizer(b"rubbish")


def test_a_foreign_tokenizer_is_refused() -> None:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["こんにちは", "さようなら"]),
        model_writer=model,
        vocab_size=15,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    with pytest.raises(TokenizerError, match="was not made by NeuroQ"):
        Tokenizer(model.getvalue())


def test_dialogues_are_marked_turn_by_turn(tokenizer: Tokenizer) -> None:
    ids = encode_dialogue(tokenizer, [Turn("user", "はい"), Turn("assistant", "どうぞ")])
    t = tokenizer
    assert ids == [
        t.begin_id,
        t.user_id,
        *t.encode("はい"),
        t.end_of_turn_id,
        t.assistant_id,
        *t.encode("どうぞ"),
        t.end_of_turn_id,
        t.end_id,
    ]


def test_a_prompt_is_the_beginning_of_the_dialogue_that_it_asks_for(tokenizer: Tokenizer) -> None:
    history = [Turn("user", "はい"), Turn("assistant", "どうぞ")]
    whole = encode_dialogue(tokenizer, [*history, Turn("user", "次は？"), Turn("assistant", "")])
    assert encode_prompt(tokenizer, history, "次は？", style="dialogue", max_tokens=99) == whole[:-2]


def test_history_is_dropped_oldest_exchange_first(tokenizer: Tokenizer) -> None:
    history = [Turn("user", "一"), Turn("assistant", "1"), Turn("user", "二"), Turn("assistant", "2")]
    full = encode_prompt(tokenizer, history, "三", style="dialogue", max_tokens=999)
    half = encode_prompt(tokenizer, history[2:], "三", style="dialogue", max_tokens=999)
    none = encode_prompt(tokenizer, [], "三", style="dialogue", max_tokens=999)
    assert len(full) > len(half) > len(none)
    assert encode_prompt(tokenizer, history, "三", style="dialogue", max_tokens=len(full) - 1) == half
    assert encode_prompt(tokenizer, history, "三", style="dialogue", max_tokens=len(half) - 1) == none
    assert encode_prompt(tokenizer, history, "三", style="dialogue", max_tokens=1) == none


def test_a_text_model_goes_on_with_the_text(tokenizer: Tokenizer) -> None:
    ids = encode_prompt(tokenizer, [], "むかし", style="text", max_tokens=99)
    assert ids == [tokenizer.begin_id, *tokenizer.encode("むかし")]


def test_lines_of_any_length_are_learned_from() -> None:
    sentences = [f"犬は{number}匹です。" for number in range(30_000)]
    lines = [Document(text=sentence) for sentence in sentences]
    one_line = Document(text="".join(sentences) + "猫" * 9000 + "▅鳥▅")
    assert len(one_line.text.encode()) > 500_000
    tokenizer = train_tokenizer([one_line], 400)
    symbols = {tokenizer.symbol(number) for number in range(tokenizer.vocab_size)}
    assert {"犬", "匹", "猫"} <= {character for symbol in symbols for character in symbol}
    beside_short_ones = train_tokenizer([*lines[:10], Document(text="鳥" * 400_000)], 400)
    assert len(beside_short_ones.encode("鳥")) == 1  # not left out for its length


def test_pieces_are_the_lines_cut_where_sentences_end() -> None:
    lines = ["", "短い。", "文です。" * 3000, "a b" * 3000, "無" * 10_000, "前▅後"]
    pieces = list(_pieces(lines))
    assert "".join(pieces) == "".join(lines).replace("▅", "")
    assert max(map(len, pieces)) <= 4096
    assert all(piece.endswith(("。", " ", "b", "無", "前", "後", "")) for piece in pieces)
    assert sum(piece.endswith("文です。") for piece in pieces) == 3


def test_a_text_without_any_symbol_is_told_in_plain_words() -> None:
    with pytest.raises(CorpusError, match="cannot carry a tokenizer of 400 symbols: add text") as caught:
        train_tokenizer([Document(text="▅")], 400)
    assert "INTERNAL" not in str(caught.value)
