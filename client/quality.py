"""How well the checkpoints in archives predict text, in bits per character, and answer questions."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from client.checks import Answers, Score
from client.modules import module_output
from server.archive import extract_checkpoint


@dataclass(frozen=True)
class Measures:
    """The files that two versions are compared on.

    Held-out `texts`, questions with their `answers`, and `foreign` questions, which should be refused.
    Without texts it is the answers' text, without either what both trainings held out.
    """

    texts: Sequence[str] = ()
    answers: Sequence[str] = ()
    foreign: Sequence[str] = ()

    @property
    def options(self) -> list[str]:
        """As options of train.compare."""
        named = [("--text", self.texts), ("--answers", self.answers), ("--foreign", self.foreign)]
        return [word for name, files in named for file in files for word in (name, file)]


def measure_all(archives: Sequence[Path], measures: Measures, folder: Path) -> list[Score]:
    """Return each archive's score. `folder` is for temporary files."""
    paths = [str(extract_checkpoint(archive, folder / archive.stem)) for archive in archives]
    return list(map(_score, json.loads(module_output("train.compare", *paths, *measures.options))))


def _score(record: dict[str, Any]) -> Score:
    counts = record.get("answers")
    answers = Answers(**{field.name: counts[field.name] for field in fields(Answers)}) if counts else None
    return Score(record["bits_per_char"], record["characters"], record["tokens"], answers)
