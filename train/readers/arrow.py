"""pyarrow, which training on plain text does without."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from train.document import CorpusError


def pyarrow(path: Path, module: str = "pyarrow") -> Any:
    """Return pyarrow or a module of it. Raises CorpusError when it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise CorpusError(f"{path} cannot be read without pyarrow: pip install pyarrow") from error
