"""How well the checkpoints in archives predict text that neither was trained on, in bits per character."""

import json
from collections.abc import Sequence
from pathlib import Path

from client.checks import Score
from client.modules import module_output
from server.archive import extract_checkpoint


def score_all(archives: Sequence[Path], texts: Sequence[str], folder: Path) -> list[Score]:
    """Return each archive's score on the texts; without any, on what their trainings held out.

    `folder` is for temporary files.
    """
    paths = [str(extract_checkpoint(archive, folder / archive.stem)) for archive in archives]
    options = [word for text in texts for word in ("--text", text)]
    records = json.loads(module_output("train.compare", *paths, *options))
    return [Score(record["bits_per_char"], record["characters"], record["tokens"]) for record in records]
