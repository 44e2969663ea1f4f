"""What each token of a tokenizer stands for: bytes of text, and a name to call it by."""

from __future__ import annotations

from model.tokenizer import Tokenizer


class Vocabulary:
    """The bytes of every token, read once: a reply's text is put together from them token by token."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer, self._silent = tokenizer, tokenizer.stop_ids
        self._data = [tokenizer.token_bytes(token) for token in range(tokenizer.vocab_size)]

    def data(self, token: int) -> bytes:
        """Return the token's part of the text; special symbols have none."""
        return self._data[token]

    def name(self, token: int) -> str:
        """Return the token's text; a special symbol's is its own name, a part of a character bytes:\\xe3."""
        if token in self._silent:
            return self._tokenizer.symbol(token)
        try:
            return self._data[token].decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in self._data[token])
