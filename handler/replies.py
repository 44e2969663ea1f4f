"""What goes back to a client: one whole reply, or a stream's events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

# JSON, or text that stands for itself (the sign of a stream's end).
Event = dict[str, Any] | str


@dataclass(frozen=True)
class Reply:
    """A whole reply, with its HTTP status."""

    status: int
    body: dict[str, Any]
    is_last: ClassVar[bool] = True

    def split(self) -> tuple[StreamPart | None, Answer | None]:
        """Return what can go out now, and what ends the request."""
        return None, self


@dataclass(frozen=True)
class StreamPart:
    """The next events of a stream, at least one."""

    events: tuple[Event, ...]
    is_last: bool

    def split(self) -> tuple[StreamPart | None, Answer | None]:
        """Return what can go out now, and what ends the request: of a last part, the last event."""
        if not self.is_last:
            return self, None
        now = StreamPart(self.events[:-1], is_last=False) if len(self.events) > 1 else None
        return now, StreamPart(self.events[-1:], is_last=True)


Answer = Reply | StreamPart


def merge(earlier: Answer, later: Answer) -> Answer:
    """Return two answers to one request as one. Only a stream has more than one, and only parts to come."""
    if isinstance(earlier, Reply):
        return earlier
    events = later.events if isinstance(later, StreamPart) else (later.body,)
    return StreamPart((*earlier.events, *events), later.is_last)
