"""What each token of a tokenizer stands for: bytes of text, and a name to call it by."""

from __future__ import annotations

import sentencepiece

from model.tokenizer import Tokenizer

_SPACE = "\u2581"  # SentencePiece's sign for a space
_UNKNOWN = " \u2047 "  # what it writes for the unknown symbol


class Vocabulary:
    """The bytes of every token. Joined and read as UTF-8 they are `Tokenizer.decode`'s text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.model_bytes)
        self._silent = tokenizer.stop_ids
        self._data = [self._read(i) for i in range(tokenizer.vocab_size)]

    def data(self, token: int) -> bytes:
        """Return the token's part of the text; special symbols have none."""
        return self._data[token]

    def name(self, token: int) -> str:
        """Return the token's text; a special symbol's is its own name, a part of a character bytes:\\xe3."""
        if token in self._silent:
            return str(self._processor.id_to_piece(token))
        try:
            return self._data[token].decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in self._data[token])

    def _read(self, token: int) -> bytes:
        piece = self._processor.id_to_piece(token)
        if token in self._silent:
            return b""
        if self._processor.is_byte(token):
            return bytes([int(piece[3:5], 16)])  # <0xE3>
        return (_UNKNOWN if self._processor.is_unknown(token) else piece.replace(_SPACE, " ")).encode()
