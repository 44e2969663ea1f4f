"""One reply to a prompt while it grows."""

from __future__ import annotations

from dataclasses import dataclass

from handler.pieces import Pieces
from handler.vocabulary import Vocabulary
from model.engine import Progress
from model.sampling import TokenLogprobs


@dataclass(frozen=True)
class Alternative:
    """A token that was or could have been drawn, and the natural logarithm of its probability."""

    text: str
    data: bytes
    logprob: float


@dataclass(frozen=True)
class DrawnToken(Alternative):
    """A token of the reply; its text begins at `offset`, in characters."""

    offset: int
    top: tuple[Alternative, ...]


@dataclass(frozen=True)
class Piece:
    """What is new of a reply: its text and, if asked for, the tokens that it is made of."""

    text: str
    tokens: tuple[DrawnToken, ...] = ()


class Choice:
    """Takes the engine's progress with one sequence; gives its text in pieces, each once."""

    def __init__(
        self, index: int, seed: int, num_prompt_tokens: int, pieces: Pieces, vocabulary: Vocabulary
    ) -> None:
        self.index, self.seed, self.num_prompt_tokens = index, seed, num_prompt_tokens
        self.num_cached_tokens = 0
        self.num_tokens = 0
        self.finish_reason: str | None = None
        self._taken: list[Piece] = []
        self._pieces, self._vocabulary = pieces, vocabulary
        self._drawn: list[DrawnToken] = []  # not part of a piece yet

    @property
    def num_pieces(self) -> int:
        """How often something was taken."""
        return len(self._taken)

    @property
    def whole(self) -> Piece:
        """All pieces that were taken, as one."""
        tokens = tuple(token for piece in self._taken for token in piece.tokens)
        return Piece("".join(piece.text for piece in self._taken), tokens)

    def accept(self, progress: Progress) -> None:
        """Take what an engine step brought; tokens behind a stop string do not count."""
        self.num_cached_tokens = progress.cached_tokens
        if progress.logprobs is None and not self._pieces.may_stop:  # as most are: all tokens at once
            self.num_tokens += len(progress.new_ids)
            self._pieces.add(b"".join(map(self._vocabulary.data, progress.new_ids)))
        else:
            self._accept_each(progress)
        if progress.finish_reason is not None and not self._pieces.is_stopped:
            self._pieces.end()
            self.finish_reason = progress.finish_reason

    def _accept_each(self, progress: Progress) -> None:
        for number, token in enumerate(progress.new_ids):
            if progress.logprobs is not None:
                self._drawn.append(self._draw(token, progress.logprobs[number]))
            self.num_tokens += 1
            self._pieces.add(self._vocabulary.data(token))
            if self._pieces.is_stopped:
                self.finish_reason = "stop"
                return

    def take(self) -> Piece | None:
        """Return what is new and may be shown, None while there is nothing."""
        text = self._pieces.take()
        is_whole = self.finish_reason is not None and not self._pieces.is_stopped
        shown = [t for t in self._drawn if is_whole or t.offset < self._pieces.num_shown]
        self._drawn = self._drawn[len(shown) :]
        if not text and not shown:
            return None
        self._taken.append(Piece(text, tuple(shown)))
        return self._taken[-1]

    def _draw(self, token: int, logprobs: TokenLogprobs) -> DrawnToken:
        top = tuple(
            Alternative(self._vocabulary.name(other), self._vocabulary.data(other), logprob)
            for other, logprob in logprobs.top
        )
        name, data = self._vocabulary.name(token), self._vocabulary.data(token)
        return DrawnToken(name, data, logprobs.logprob, self._pieces.num_characters, top)
