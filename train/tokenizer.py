"""Training the SentencePiece tokenizer on the same text as the model."""

from __future__ import annotations

import io
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator

import sentencepiece

from model.tokenizer import BEGIN, END, MARKERS, PAD, UNKNOWN, Tokenizer
from train.corpus import CorpusError, Document

# Below this many characters of text for each symbol, a symbol is seen too rarely to be learned.
CHARACTERS_PER_SYMBOL = 75
_BYTES_AND_SPECIALS = 256 + 7
# SentencePiece silently leaves out lines that are longer than it is told, in bytes, or hold its own sign for
# the unknown. Pieces of this length are far from that, and no slower to learn from than short lines.
_LONGEST = 4096
_ITS_UNKNOWN = "\u2585"
_COVERAGE = 0.9995  # of the text by characters that get a symbol of their own; the rest goes by bytes


def affordable_vocab_size(vocab_size: int, documents: Iterable[Document]) -> int:
    """Return `vocab_size`, or fewer symbols when the text cannot carry them."""
    characters = sum(len(line) for document in documents for line in document.lines)
    return min(vocab_size, _BYTES_AND_SPECIALS + 64 + characters // CHARACTERS_PER_SYMBOL)


def train_tokenizer(documents: list[Document], vocab_size: int) -> Tokenizer:
    """Train a lossless unigram tokenizer of at most `vocab_size` symbols; same text, same tokenizer."""
    model = io.BytesIO()
    lines = [line for document in documents for line in document.lines]
    most_characters = (vocab_size - _BYTES_AND_SPECIALS) // 2
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_pieces(_without_rare_characters(lines, most_characters)),
            model_writer=model,
            vocab_size=vocab_size,
            hard_vocab_limit=False,
            model_type="unigram",
            byte_fallback=True,
            character_coverage=1.0,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=False,
            split_by_whitespace=False,
            split_digits=True,
            max_sentence_length=1 << 20,
            pad_id=0,
            unk_id=1,
            bos_id=2,
            eos_id=3,
            pad_piece=PAD,
            unk_piece=UNKNOWN,
            bos_piece=BEGIN,
            eos_piece=END,
            user_defined_symbols=list(MARKERS),
            num_threads=2,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise CorpusError(
            f"the text cannot carry a tokenizer of {vocab_size} symbols: add text, or try --vocab_size 400"
        ) from error
    return Tokenizer(model.getvalue())


def _without_rare_characters(lines: list[str], most: int) -> Iterator[str]:
    """Yield the lines cut at rare characters: these get no symbol of their own and go by bytes.

    At most `most` characters stay. (SentencePiece's own character_coverage cannot go below 0.98.)
    """
    counts = Counter("".join(lines)).most_common(max(most, 1))
    enough = _COVERAGE * sum(map(len, lines))
    before = itertools.accumulate((count for _, count in counts), initial=0)
    frequent = {
        character for (character, _), covered in zip(counts, before, strict=False) if covered < enough
    }
    for line in lines:
        yield from "".join(c if c in frequent else "\n" for c in line).splitlines()


def _pieces(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines, long ones cut after a 。 or a blank where there is one."""
    for line in lines:
        for part in line.split(_ITS_UNKNOWN):
            start = 0
            while len(part) - start > _LONGEST:
                window = part[start : start + _LONGEST]
                end = max(window.rfind("。"), window.rfind(" ")) + 1 or _LONGEST
                yield window[:end]
                start += end
            yield part[start:]
