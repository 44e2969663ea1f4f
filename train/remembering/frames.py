"""The hand-written frames and lists of frames.json.

In a frame {x} is the told value, {xs} the same with さん, {g} {a} {p} a second value, {me} and {k} the user's
word for "I" (plain, kana), {label} what is asked for, {old} what a correction takes back.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypedDict, cast

from typing_extensions import NotRequired


class Group(TypedDict):
    """One thing that can be asked for: how users call it, how the reply says it, the frames."""

    label: str
    polite: str
    clause: str
    said: str
    ask: list[str]
    reply: list[str]


class Kind(TypedDict):
    """One kind of fact; two kinds of the same set never meet in a dialogue."""

    set: str
    weight: int
    slots: dict[str, str]
    tell: list[str]
    ack: list[str]
    asks: list[Group]
    use: NotRequired[list[list[str]]]
    fix: NotRequired[list[str]]


class Data(TypedDict):
    """The contents of the data file."""

    lists: dict[str, str]
    kinds: dict[str, Kind]
    fix: list[str]
    fixack: list[str]
    ask: list[str]
    reply: list[str]
    untold: list[str]
    untold_but: list[str]
    both_ask: list[str]
    all_ask: list[str]
    many_reply: list[str]
    many_ack: list[str]
    link: list[str]
    between: list[list[str]]
    closing: list[list[str]]


def read_frames() -> Data:
    """Return what frames.json holds."""
    return cast(Data, json.loads(Path(__file__).with_name("frames.json").read_text(encoding="utf-8")))


def split_lists(raw: dict[str, str]) -> dict[str, list[str]]:
    """Return the lists, with the names of pets as their owners call them."""
    lists = {name: text.split() for name, text in raw.items()}
    plain = lists["petnames"]
    lists["petcalls"] = [*plain, *(n + "ちゃん" for n in plain), *(n + "くん" for n in lists["petboys"])]
    return lists
