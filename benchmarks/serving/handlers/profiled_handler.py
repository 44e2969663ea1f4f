"""NeuroQ's own handler with a stopwatch: `profile_path` in model-config.yaml names the file it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stopwatch import Stopwatch  # type: ignore[import-not-found]  # beside this file in the archive

from handler.driver import Driver
from handler.neuroq_handler import NeuroQHandler
from model.engine import Engine


class ProfiledHandler(NeuroQHandler):
    """Serves as NeuroQHandler does."""

    def initialize(self, context: Any) -> None:
        """Load the model, then watch the worker, the handler and the engine."""
        super().initialize(context)
        self._stopwatch = Stopwatch(Path(context.model_yaml_config["profile_path"]))
        self._stopwatch.watch_worker()
        # Waiting for something to do is nobody's time.
        Driver._obey = self._stopwatch.between("service", Driver._obey, "idle")  # type: ignore[method-assign]
        Engine.step = self._stopwatch.between("service", Engine.step, "engine")  # type: ignore[method-assign]

    def handle(self, data: list[dict[str, Any]], context: Any) -> Any:
        """Answer as NeuroQHandler does."""
        self._stopwatch.lap("unpack")
        outputs = super().handle(data, context)
        self._stopwatch.count_step(len(data))
        return outputs
