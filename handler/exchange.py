"""One generate or clear_session request in flight."""

from __future__ import annotations

from dataclasses import dataclass, field

from handler.schema import ClearSessionRequest, GenerateRequest
from model.tokenizer import Tokenizer


@dataclass
class Exchange:
    """What is known of a request between its arrival and its reply.

    `session_id` is None when the request has no conversation. `is_running` tells whether the session is
    held and, for generate, the engine has the request.
    """

    request_id: str
    request: GenerateRequest | ClearSessionRequest
    session_id: str | None
    deadline: float
    seed: int = 0
    is_running: bool = False
    num_prompt_tokens: int = 0
    output_ids: list[int] = field(default_factory=list)
    finish_reason: str | None = None

    def accept(self, new_ids: list[int], finish_reason: str | None, tokenizer: Tokenizer) -> None:
        """Take what an engine step brought, and cut the output where a stop string begins."""
        before = len(self.output_ids)
        self.output_ids += new_ids
        self.finish_reason = finish_reason
        if isinstance(self.request, GenerateRequest) and self.request.stop_strings:
            for count in range(before + 1, len(self.output_ids) + 1):
                if self._stop_at(tokenizer.decode(self.output_ids[:count])) >= 0:
                    del self.output_ids[count:]
                    self.finish_reason = "stop"
                    return

    def text(self, tokenizer: Tokenizer) -> str:
        """The reply, without the stop string that ended it."""
        text = tokenizer.decode(self.output_ids)
        end = self._stop_at(text)
        return text if end < 0 else text[:end]

    def _stop_at(self, text: str) -> int:
        """Return where the first stop string begins in `text`, or -1."""
        strings = self.request.stop_strings if isinstance(self.request, GenerateRequest) else []
        found = [at for at in map(text.find, strings) if at >= 0]
        return min(found, default=-1)
