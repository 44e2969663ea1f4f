"""The model card: Markdown with the YAML head that model hubs read."""

from __future__ import annotations

import json
from typing import Any

from train.summary import Rows, Summary

_WHAT_IT_IS = """\
A small decoder-only language model for Japanese. Its attention and feed-forward paths carry QBNN layers:
recurrent layers of "adjustable pseudo quantum bits" with a sparse entanglement term. This is quantum-inspired
mathematics on an ordinary computer; no quantum hardware is involved."""
_LIMITS = """\
A model of this size knows its training text and little else, and makes things up beyond that. It has not
been examined for bias or safety. Whoever publishes the weights has to be allowed to by the licence of the
text that they were trained on."""


def model_card(summary: Summary) -> str:
    """Return the card's text."""
    parts = [
        _head(summary),
        f"# {summary.name}",
        _WHAT_IT_IS,
        f"    ./neuroq serve --checkpoint-path checkpoints/{summary.name}.pt",
        "## Scores",
        "Bits per character; lower is better. Held-out documents took no part in training.",
        _table("text", "bits per character", summary.scores()),
        *(["## Answers", _table("", "", summary.answers())] if summary.answers() else []),
        "## Sizes",
        _table("", "", summary.sizes()),
        "## Lineage",
        _table("", "", summary.origin()),
        "## Training arguments",
        _table("argument", "value", summary.arguments()),
        "## Limits",
        _LIMITS,
    ]
    return "\n\n".join(parts) + "\n"


def _head(summary: Summary) -> str:
    """JSON is YAML: so every value is quoted as it must be."""
    values: dict[str, Any] = {
        "language": ["ja"],
        "library_name": "neuroq",
        "pipeline_tag": "text-generation",
        "tags": ["neuroq", "qbnn", "quantum-inspired", summary.lineage["style"]],
    }
    score = summary.metrics.get("validation_bits_per_char")
    if score is not None:
        values["model-index"] = [{"name": summary.name, "results": [_result(summary, score)]}]
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in values.items()]
    return "\n".join(["---", *lines, "---"])


def _result(summary: Summary, score: float) -> dict[str, Any]:
    fingerprint = summary.lineage["data"]["fingerprint"]
    return {
        "task": {"type": "text-generation"},
        "dataset": {"type": fingerprint, "name": "held-out documents of the training text"},
        "metrics": [{"type": "bits_per_char", "name": "bits per character", "value": score}],
    }


def _table(left: str, right: str, rows: Rows) -> str:
    lines = [f"| {left} | {right} |", "|---|---|"]
    return "\n".join(lines + [f"| {_cell(name)} | {_cell(value)} |" for name, value in rows])


def _cell(text: str) -> str:
    """Keep a text within its cell, and from being read as markup."""
    escaped = "".join(f"\\{c}" if c in "\\`*_[]<>|" else c for c in text)
    return " ".join(escaped.split())
