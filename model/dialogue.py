"""How conversations and plain text become token ids: <s><USER>…<EOT><ASSISTANT>…<EOT>…</s>."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from model.tokenizer import Tokenizer

Role = Literal["user", "assistant"]
# What a model was trained on decides how it is asked: a dialogue turn, or text to go on with.
Style = Literal["dialogue", "text"]


@dataclass(frozen=True)
class Turn:
    """One utterance of a conversation."""

    role: Role
    text: str


def encode_turn(tokenizer: Tokenizer, turn: Turn) -> list[int]:
    """Return marker, text without blanks around it, and end of turn."""
    marker = tokenizer.user_id if turn.role == "user" else tokenizer.assistant_id
    return [marker, *tokenizer.encode(turn.text.strip()), tokenizer.end_of_turn_id]


def encode_dialogue(tokenizer: Tokenizer, turns: Iterable[Turn]) -> list[int]:
    """Return a whole training document of turns, with its begin and end symbols."""
    body = [i for turn in turns for i in encode_turn(tokenizer, turn)]
    return [tokenizer.begin_id, *body, tokenizer.end_id]


def encode_text(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return a whole training document of plain text, with its begin and end symbols."""
    return [tokenizer.begin_id, *tokenizer.encode(text), tokenizer.end_id]


def encode_prompt(
    tokenizer: Tokenizer, history: Sequence[Turn], prompt: str, *, style: Style, max_tokens: int
) -> list[int]:
    """Return the ids that a reply to `prompt` continues, the conversation's last turns before it.

    The oldest exchanges are dropped first, as many as needed for the whole to have at most `max_tokens`
    ids. The prompt itself is never cut: it is returned too long, for the engine to refuse.
    """
    if style == "text":
        tail = tokenizer.encode(prompt)
        past = [tokenizer.encode(turn.text) for turn in history]
    else:
        tail = [*encode_turn(tokenizer, Turn("user", prompt)), tokenizer.assistant_id]
        past = [encode_turn(tokenizer, turn) for turn in history]
    room = max_tokens - 1 - len(tail)
    kept: list[list[int]] = []
    for pair in reversed([past[i : i + 2] for i in range(0, len(past), 2)]):
        room -= sum(map(len, pair))
        if room < 0:
            break
        kept = pair + kept
    return [tokenizer.begin_id, *(i for ids in kept for i in ids), *tail]
