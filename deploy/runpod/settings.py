"""The worker's one setting of its own; where the server is, the server's settings say."""

import re
from collections.abc import Mapping

from server.errors import SettingsError

CONCURRENCY = "NEUROQ_RUNPOD_CONCURRENCY"
DEFAULT_CONCURRENCY = 32  # what the engine decodes together: `slots` of handler/model-config.yaml


def read_concurrency(environment: Mapping[str, str]) -> int:
    """Return how many jobs are taken at the same time. Raises SettingsError, one line."""
    text = environment.get(CONCURRENCY) or str(DEFAULT_CONCURRENCY)
    if not re.fullmatch(r"[0-9]{1,3}", text) or int(text) < 1:
        raise SettingsError(f"{CONCURRENCY} must be a whole number from 1 to 999, not {text!r}")
    return int(text)
