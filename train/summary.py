"""What the page and the model card tell of a run beside its history: scores, sizes, where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.config import ModelConfig

Rows = list[tuple[str, str]]
_PATHS = ("texts", "checkpoint_path", "tokenizer_path", "init_from")


@dataclass(frozen=True)
class Summary:
    """A run as its checkpoint has it. `lineage` is the checkpoint's own (model/checkpoint.py).

    `status` tells how far the run went and why it ended. `weights_sha256` is None for a failed run, which
    tells of no checkpoint. The rows are made to be shown to others: of a path they tell the last part only.
    """

    name: str
    status: str
    seconds: float
    num_parameters: int
    config: ModelConfig
    weights_sha256: str | None
    tokenizer_sha256: str
    lineage: Mapping[str, Any]

    @property
    def metrics(self) -> Mapping[str, Any]:
        """The scores and the speed."""
        metrics: Mapping[str, Any] = self.lineage["metrics"]
        return metrics

    def scores(self) -> Rows:
        """Bits per character of each part that was scored."""
        parts = {
            "held-out documents": self.metrics.get("validation_bits_per_char"),
            "training documents (a sample)": self.metrics.get("train_bits_per_char"),
        }
        parts |= {
            f"held-out documents, served in {precision}": value
            for precision, value in self.metrics.get("bits_per_char_by_precision", {}).items()
        }
        return [(name, f"{value:.4f}") for name, value in parts.items() if value is not None]

    def answers(self) -> Rows:
        """How many questions of the text are answered, as far as that was measured."""
        counts = self.metrics.get("answers", {})
        names = {"known": "questions of the text", "exact": "answered exactly", "fitting": "fitting"}
        names |= {"refused": "refused", "broken": "with a broken character"}
        return [(names[name], str(counts[name])) for name in names if name in counts]

    def sizes(self) -> Rows:
        """The network's shape and the effort."""
        config = self.config
        return [
            ("parameters", f"{self.num_parameters:,}"),
            ("vocabulary", f"{config.vocab_size:,} symbols"),
            ("context", f"{config.context_length:,} tokens"),
            ("blocks", f"{config.num_layers} of width {config.embed_dim}, {config.num_heads} heads"),
            ("QBNN neurons", f"{config.num_neurons} (attention), {2 * config.num_neurons} (feed-forward)"),
            ("training time", _duration(self.seconds)),
        ]

    def origin(self) -> Rows:
        """The lineage: code, text, tokenizer, weights and parent."""
        lineage, data = self.lineage, self.lineage["data"]
        return [
            ("code version", lineage["code_version"]),
            ("trained at", lineage["trained_at"]),
            ("run", self.status),
            ("style", lineage["style"]),
            ("text", ", ".join(Path(source).name or source for source in data["sources"])),
            ("text fingerprint", data["fingerprint"]),
            ("documents", f"{data['documents']:,} ({data['characters']:,} characters)"),
            ("tokenizer SHA-256", self.tokenizer_sha256),
            ("weights digest", self.weights_sha256 or "none"),
            ("parent checkpoint SHA-256", lineage["parent"] or "none"),
            ("started from", _parent(lineage.get("init_from"))),
            ("precision of training", lineage["precision"]),
        ]

    def arguments(self) -> Rows:
        """The training arguments, paths left out."""
        return [(k, str(v)) for k, v in self.lineage["arguments"].items() if k not in _PATHS]


def _parent(origin: Mapping[str, Any] | None) -> str:
    return f"{Path(origin['place']).name}, SHA-256 {origin['sha256']}" if origin else "nothing"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
