"""What is asked: prompts and lengths, the same for every system and every round."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.anchors import SIZE
from model.tokenizer import Tokenizer

PROMPT_TOKENS = (8, 64)
# Enough requests that no server still has a prompt in its cache when it comes again.
NUM_ASKS = 512
_MARKERS = 8  # tokens that a chat template may put around the prompt


@dataclass(frozen=True)
class Ask:
    """One request: the same text for all, its ids for a server that has another tokenizer."""

    prompt: str
    prompt_ids: list[int]
    num_tokens: int
    seed: int


@dataclass(frozen=True)
class Mix:
    """How many tokens a kind of client asks for; each number in between is as likely."""

    name: str
    shortest: int
    longest: int


MIXED = Mix("mixed", 10, 200)
SHORT = Mix("short", 10, 20)
LONG = Mix("long", 200, 200)


def make_asks(tokenizer: Tokenizer, text: str, mix: Mix) -> list[Ask]:
    """Return requests whose prompts are pieces of `text`; each fits the context with its output."""
    pieces = _Pieces(tokenizer, text, random.Random(mix.name))
    return [pieces.ask(mix) for _ in range(NUM_ASKS)]


@dataclass
class _Pieces:
    """Draws pieces of a text that have a given number of tokens."""

    tokenizer: Tokenizer
    text: str
    chance: random.Random

    def __post_init__(self) -> None:
        self._ids = self.tokenizer.encode(self.text)

    def ask(self, mix: Mix) -> Ask:
        num_tokens = self.chance.randint(mix.shortest, mix.longest)
        longest = min(PROMPT_TOKENS[1], SIZE.context_length - _MARKERS - num_tokens)
        length = self.chance.randint(PROMPT_TOKENS[0], longest)
        # A piece that begins or ends inside a character comes back with other tokens.
        prompt, ids = next(piece for piece in self._pieces(length) if len(piece[1]) == length)
        return Ask(prompt, ids, num_tokens, self.chance.randrange(1 << 31))

    def _pieces(self, length: int) -> Iterator[tuple[str, list[int]]]:
        while True:
            begin = self.chance.randrange(len(self._ids) - length)
            text = self.tokenizer.decode(self._ids[begin : begin + length])
            yield text, self.tokenizer.encode(text)
