"""A candidate beside the version that it wants to replace: the same questions to both, over HTTP.

Both are asked where nobody else asks them, so that the load of the moment slows both alike: the candidate by
its version, the current one as a model of another name.
"""

import time
import uuid
from dataclasses import dataclass

from client.api import NeuroQClient, NeuroQError
from client.checks import Timing
from server.errors import ServerError

# Short: a model of a short context has to take them, too.
PROMPTS = (
    "こんにちは",
    "おはよう",
    "あなたは誰ですか",
    "今日の天気は？",
    "猫は好きですか",
    "量子とは何ですか",
    "ありがとう",
    "おすすめの本は？",
)
TIMED_PROMPTS = PROMPTS[:4]
NUM_ROUNDS = 10
MAX_LENGTH = 32
FIXED = {"temperature": 0, "seed": 1}


@dataclass(frozen=True)
class Reply:
    """A text, its length, and the time from asking until it was there."""

    text: str
    num_tokens: int
    seconds: float


def ask(client: NeuroQClient, prompt: str, max_length: int = MAX_LENGTH) -> Reply:
    """Ask without a past, and leave no conversation behind. Raises NeuroQError."""
    session_id = f"release-{uuid.uuid4().hex}"
    begin = time.perf_counter()
    answer = client.generate(prompt, session_id=session_id, max_length=max_length, **FIXED)
    seconds = time.perf_counter() - begin
    client.clear_session(session_id)
    return Reply(answer["generated"], answer["usage"]["completion_tokens"], seconds)


def sample_replies(client: NeuroQClient) -> list[str | None]:
    """Return the replies to the fixed prompts, None for each that failed."""
    return [_text(client, prompt) for prompt in PROMPTS]


def time_both(current: NeuroQClient, candidate: NeuroQClient) -> list[Timing]:
    """Return timings of replies that are of one length for both, in turns. Raises NeuroQError."""
    lengths = _common_lengths(current, candidate)
    return [
        _pair(current, candidate, prompt, length, candidate_first=bool(number % 2))
        for number in range(NUM_ROUNDS)
        for prompt, length in lengths.items()
    ]


def _text(client: NeuroQClient, prompt: str) -> str | None:
    try:
        return ask(client, prompt).text
    except NeuroQError:
        return None


def _common_lengths(current: NeuroQClient, candidate: NeuroQClient) -> dict[str, int]:
    """Return prompt → tokens that both say before they end; asking is the warm-up, too.

    A reply does not depend on when it is asked for, so cut to this length it has exactly so many tokens.
    """
    lengths: dict[str, int] = {}
    for prompt in TIMED_PROMPTS:
        replies = [ask(client, prompt) for client in (current, candidate)]
        lengths[prompt] = max(1, min(reply.num_tokens for reply in replies))
    return lengths


def _pair(
    current: NeuroQClient, candidate: NeuroQClient, prompt: str, length: int, *, candidate_first: bool
) -> Timing:
    clients = [candidate, current] if candidate_first else [current, candidate]
    seconds = [ask(client, prompt, length).seconds for client in clients]
    if candidate_first:
        seconds.reverse()
    return Timing(length, *seconds)


def require_served(client: NeuroQClient, checkpoint_sha256: str, archive: str) -> None:
    """Raise ServerError unless the server serves the checkpoint that this archive holds."""
    served = client.status()["checkpoint_sha256"]
    if served != checkpoint_sha256:
        raise ServerError(
            f"{archive} holds checkpoint {checkpoint_sha256[:12]}…, the server serves {served[:12]}…; "
            "package what it serves again"
        )
