"""The SentencePiece tokenizer and its special symbols."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import sentencepiece

from model.text import normalize

PAD, UNKNOWN, BEGIN, END = "<pad>", "<unk>", "<s>", "</s>"
USER, ASSISTANT, END_OF_TURN = "<USER>", "<ASSISTANT>", "<EOT>"
MARKERS = (USER, ASSISTANT, END_OF_TURN)
SPECIALS = (PAD, UNKNOWN, BEGIN, END, *MARKERS)  # in the order of their ids, from 0
_SPACE = "\u2581"  # SentencePiece's sign for a space
_UNKNOWN_TEXT = " \u2047 "  # what it writes for the unknown symbol

# Between the first character of a marker's spelling and the rest: text is encoded in two pieces there,
# so SentencePiece never sees the whole spelling and cannot turn it into the marker.
_INSIDE_MARKER = re.compile("|".join(f"(?<={re.escape(m[0])})(?={re.escape(m[1:])})" for m in MARKERS))


class TokenizerError(ValueError):
    """The tokenizer file is missing, unreadable or not a NeuroQ tokenizer."""


class Tokenizer:
    """Text to token ids and back, and never a marker from plain text.

    Nothing is lost but what `normalize` makes equal: characters without a symbol go by their bytes.
    """

    def __init__(self, model_bytes: bytes) -> None:
        self.model_bytes = model_bytes
        if not model_bytes:  # which SentencePiece takes for a model
            raise TokenizerError("not a SentencePiece model: it is empty")
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model_bytes)
        except (RuntimeError, OSError) as error:
            raise TokenizerError(f"not a SentencePiece model: {error}") from error
        self.pad_id, self.begin_id, self.end_id = (self._special(s) for s in (PAD, BEGIN, END))
        # A text's own ▁ goes by its bytes, else it would come back as a blank; and so does a blank where the
        # vocabulary has none, else it would come back as ▁.
        self._by_bytes = {_SPACE: self._bytes(_SPACE)}
        if self._processor.piece_to_id(_SPACE) == self._processor.unk_id():
            self._by_bytes[" "] = self._bytes(" ")
        self._parted = re.compile(f"([{''.join(self._by_bytes)}])")
        self.user_id, self.assistant_id, self.end_of_turn_id = (self._special(s) for s in MARKERS)

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Read a tokenizer file. Raises TokenizerError when it is missing: there is no fallback."""
        try:
            return cls(Path(path).read_bytes())
        except OSError as error:
            raise TokenizerError(f"cannot read the tokenizer {path}: {error.strerror}") from error

    @property
    def vocab_size(self) -> int:
        """Number of symbols, special ones included."""
        return int(self._processor.vocab_size())

    @property
    def sha256(self) -> str:
        """Digest of the model file; a checkpoint names the tokenizer that it belongs to by it."""
        return hashlib.sha256(self.model_bytes).hexdigest()

    @property
    def stop_ids(self) -> frozenset[int]:
        """Tokens that end a reply: an end, or a marker, which a reply must never contain."""
        specials = (self.pad_id, self.begin_id, self.end_id)
        return frozenset((*specials, self.user_id, self.assistant_id, self.end_of_turn_id))

    def encode(self, text: str) -> list[int]:
        """Return the ids of plain text in its one form; a marker in it becomes ordinary characters."""
        ids: list[int] = []
        for part in self._parted.split(normalize(text)):
            if part in self._by_bytes:
                ids += self._by_bytes[part]
            else:
                for piece in _INSIDE_MARKER.split(part):
                    ids += self._processor.encode(piece)
        return ids

    def decode(self, ids: list[int]) -> str:
        """Return the text of ids; special symbols have none, a character cut off at the end is dropped."""
        stop = self.stop_ids
        text: str = self._processor.decode([i for i in ids if i not in stop])
        return text.rstrip("\ufffd")

    def symbol(self, token: int) -> str:
        """Return a token's piece as SentencePiece spells it: a special symbol's is its own name."""
        return str(self._processor.id_to_piece(token))

    def token_bytes(self, token: int) -> bytes:
        """Return a token's part of the text; those of a reply, joined and read as UTF-8, are its text."""
        if token in self.stop_ids:
            return b""
        piece = self.symbol(token)
        if self._processor.is_byte(token):
            return bytes([int(piece[3:5], 16)])  # <0xE3>
        return (_UNKNOWN_TEXT if self._processor.is_unknown(token) else piece.replace(_SPACE, " ")).encode()

    def _bytes(self, character: str) -> list[int]:
        return [int(self._processor.piece_to_id(f"<0x{byte:02X}>")) for byte in character.encode()]

    def _special(self, symbol: str) -> int:
        number = int(self._processor.piece_to_id(symbol))
        if self._processor.id_to_piece(number) != symbol:
            raise TokenizerError(f"the tokenizer has no symbol {symbol}: it was not made by NeuroQ")
        return number
