"""The development text in two parts: the validation documents of the quality anchors, and all the rest."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

DIALOGUES, STORIES, SENTENCES = "dialogue.jsonl", "narrative.txt", ("rohan4600.txt", "ita.txt")
# The anchors hold out every third short story, and of the last dialogues, until there are so many characters.
_VALIDATION_CHARACTERS = 33_000
_SHORT_STORY = 6_000  # characters
_EVERY = 3
_LAST_DIALOGUES = 200


@dataclass(frozen=True)
class Parts:
    """Folders of corpus files."""

    training: Path
    validation: Path


def write_parts(data: Path, folder: Path) -> Parts:
    """Write both parts of a data folder below `folder`. Raises OSError for a file that is missing."""
    parts = Parts(folder / "training", folder / "validation")
    for part in (parts.training, parts.validation):
        part.mkdir(parents=True)
    for name, separator, kept in (
        (DIALOGUES, "\n", hold_out_dialogues),
        (STORIES, "\n\n", hold_out_stories),
    ):
        documents = [d for d in (data / name).read_text("utf-8").strip("\n").split(separator) if d.strip()]
        held_out = kept(documents)
        training = [document for number, document in enumerate(documents) if number not in held_out]
        _write(parts.training / name, training, separator)
        _write(parts.validation / name, [documents[number] for number in sorted(held_out)], separator)
    for name in SENTENCES:
        (parts.training / name).write_text((data / name).read_text("utf-8"), "utf-8")
    return parts


def hold_out_stories(stories: list[str]) -> set[int]:
    """Return the numbers of the stories that validate."""
    short = [number for number, story in enumerate(stories) if len(story) < _SHORT_STORY]
    return _first(short[::_EVERY], lambda number: len(stories[number]))


def hold_out_dialogues(records: list[str]) -> set[int]:
    """Return the numbers of the dialogues (JSON) that validate; their size counts the anchors' role tags."""
    first = max(len(records) - _LAST_DIALOGUES, 0)
    return _first(range(first, len(records)), lambda number: _tagged_length(records[number]))


def _first(numbers: Iterable[int], length: Callable[[int], int]) -> set[int]:
    """Return the first numbers, until their lengths reach what is held out."""
    chosen: set[int] = set()
    total = 0
    for number in numbers:
        if total >= _VALIDATION_CHARACTERS:
            break
        chosen.add(number)
        total += length(number)
    return chosen


def _tagged_length(record: str) -> int:
    turns = json.loads(record)["turns"]
    tags = {"user": "<USER>", "assistant": "<ASSISTANT>"}
    return len("\n".join(tags[turn["role"]] + turn["text"] for turn in turns))


def _write(path: Path, documents: list[str], separator: str) -> None:
    path.write_text(separator.join(documents) + "\n", "utf-8")
