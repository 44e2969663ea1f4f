"""The instance's logs, read to say why it does not start."""

import re
from dataclasses import dataclass
from pathlib import Path

from server.settings import Settings

CONSOLE_LOG, FRONT_END_LOG, WORKER_LOG = "console.log", "ts_log.log", "model_log.log"
NUM_LINES, NUM_CAUSES = 15, 5
MAX_READ = 1 << 18
# A log line's head: time, level, thread, logger. What follows it is for people.
HEAD = re.compile(r"^\d{4}-\d\d-\d\d[T ][\d:,.]+ (?:\[\w+ *\] \S+ (?P<logger>\S+) )?- ")
NOISE = re.compile(
    r"^\s+at [\w.$/]+\(|^\s+\.\.\. \d+ more|^[\s^~]*$|: 500 - Unknown exc|'ts\.torch_handler\."
)
CAUSE = re.compile(r"^([A-Za-z_]\w*\.)*[A-Za-z]\w*(Error|Exception)\b")
WORKER_DIED, WORKER_RETRIED = "Backend worker process died", "Auto recovery failed again"
MODEL_FAILURE = "Failed to load model: "


@dataclass(frozen=True)
class LogMark:
    """How long each log was when the server started: what came before is another start's."""

    log_dir: Path
    sizes: dict[str, int]

    def text(self, name: str) -> str:
        """Return what a log gained since, its last part when that is long."""
        try:
            with (self.log_dir / name).open("rb") as log:
                size = log.seek(0, 2)
                begin = self.sizes[name] if self.sizes[name] <= size else 0  # it rolled over
                log.seek(max(begin, size - MAX_READ))
                return log.read().decode("utf-8", errors="replace")
        except OSError:
            return ""

    @property
    def num_worker_failures(self) -> int:
        """How many times a worker could not load the model."""
        num_deaths = self.text(WORKER_LOG).count(WORKER_DIED)
        num_retries = self.text(FRONT_END_LOG).count(WORKER_RETRIED)  # says nothing of the first failure
        return max(num_deaths, num_retries + 1 if num_retries else 0)

    @property
    def has_model_failure(self) -> bool:
        """Tell whether the archive itself could not be loaded."""
        return MODEL_FAILURE in self.text(FRONT_END_LOG)

    def explanation(self) -> str:
        """Return what tells most: the worker's lines, else the front end's, else the console's."""
        for name in (WORKER_LOG, FRONT_END_LOG, CONSOLE_LOG):
            lines = telling_lines(self.text(name))
            if lines:
                return "\n".join([*(f"  {line}" for line in lines), f"  (from {self.log_dir / name})"])
        return f"  (nothing in {self.log_dir})"


def mark_logs(settings: Settings) -> LogMark:
    """Note how long the logs are now; the console's is about to be begun anew."""
    paths = {name: settings.log_dir / name for name in (FRONT_END_LOG, WORKER_LOG)}
    sizes = {name: path.stat().st_size if path.exists() else 0 for name, path in paths.items()}
    return LogMark(settings.log_dir, {**sizes, CONSOLE_LOG: 0})


def telling_lines(text: str) -> list[str]:
    """Return the last errors, each once, or without any the last lines; no heads, no stack frames."""
    lines = [HEAD.sub("", line).rstrip() for line in text.splitlines()]
    lines = [line for line in lines if not NOISE.search(line)]
    causes = list(dict.fromkeys(line for line in lines if CAUSE.match(line)))
    return causes[-NUM_CAUSES:] or lines[-NUM_LINES:]
