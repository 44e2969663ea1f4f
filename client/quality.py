"""How well the checkpoints in archives predict text that neither was trained on, in bits per character."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from client.checks import Score
from client.modules import module_output
from server.archive import extract_checkpoint


def score_all(archives: Sequence[Path], texts: Sequence[str]) -> list[Score]:
    """Return each archive's score on the texts; without any, on what their trainings held out."""
    with tempfile.TemporaryDirectory(prefix="neuroq-release-") as name:
        paths = [str(extract_checkpoint(archive, Path(name, archive.stem))) for archive in archives]
        options = [word for text in texts for word in ("--text", text)]
        records = json.loads(module_output("train.compare", *paths, *options))
    return [Score(record["bits_per_char"], record["characters"], record["tokens"]) for record in records]
