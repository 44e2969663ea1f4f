"""The text of a growing reply, piece by piece: whole characters, and never a part of a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

_BROKEN = "\ufffd"


def _one_for_each_byte(error: UnicodeError) -> tuple[str, int]:
    """Read broken UTF-8 as SentencePiece does."""
    assert isinstance(error, UnicodeDecodeError)
    return _BROKEN * (error.end - error.start), error.end


codecs.register_error("neuroq.one-for-each-byte", _one_for_each_byte)
_Decoder = codecs.getincrementaldecoder("utf-8")


class Pieces:
    """Takes a reply's bytes, token by token, and gives the text that may be shown.

    All pieces joined are the text before the first stop string, or the whole text without broken characters
    at its end. The work for a token depends on its own length and the stop strings', not on the reply's.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self.num_characters = 0  # whole characters read, shown or not
        self.num_shown = 0
        self.is_stopped = False
        self._decoder = _Decoder("neuroq.one-for-each-byte")
        self._stop = stop
        self._ready = ""
        self._held = ""  # may turn out to be the beginning of a stop string
        self._num_broken = 0  # broken characters that are shown only if others follow

    @property
    def may_stop(self) -> bool:
        """Whether there are stop strings to look for."""
        return bool(self._stop)

    def add(self, data: bytes) -> None:
        """Take the bytes of the next token, or of several where nothing may stop.

        `is_stopped` tells when a stop string is complete.
        """
        text = self._decoder.decode(data)
        self.num_characters += len(text)
        if not self._stop:
            self._ready += text
            return
        held = self._held + text
        found = [at for at in (held.find(stop) for stop in self._stop) if at >= 0]
        self.is_stopped = bool(found)
        end = min(found) if found else len(held) - self._num_doubtful(held)
        self._ready += held[:end]
        self._held = "" if found else held[end:]

    def end(self) -> None:
        """Say that no more comes: what looked like the beginning of a stop string was none."""
        self._ready += self._held
        self._held = ""

    def take(self) -> str:
        """Return what may be shown and was not returned before."""
        text = self._ready if self.is_stopped else self._ready.rstrip(_BROKEN)
        num_cut = len(self._ready) - len(text)
        if text or self.is_stopped:
            text, self._num_broken = _BROKEN * self._num_broken + text, 0
        self._num_broken += num_cut
        self._ready = ""
        self.num_shown += len(text)
        return text

    def _num_doubtful(self, text: str) -> int:
        """Return the length of the longest end of `text` that a stop string begins with."""
        longest = min(max(map(len, self._stop), default=1) - 1, len(text))
        return next(
            (n for n in range(longest, 0, -1) if any(stop.startswith(text[-n:]) for stop in self._stop)), 0
        )
