"""Number formats of the weights at inference, and which of them a model may be served in."""

from __future__ import annotations

from collections.abc import Mapping

FLOAT32, BFLOAT16, INT8 = "float32", "bfloat16", "int8"
AUTO = "auto"
# Of the bits per character on held-out text: what a precision may lose against float32.
MAX_LOSS = 0.005


class PrecisionError(ValueError):
    """The wanted precision cannot be served; the message says why."""


def choose_precision(wanted: str, native_default: str | None, scores: Mapping[str, float]) -> str:
    """Return the precision to serve in. Raises PrecisionError for one that the model may not be served in.

    `native_default` is what the native decoder prefers on this processor, None where there is no native
    decoder. `scores` are the model's bits per character on held-out text by precision, as far as they were
    measured. Reduced precision must not lose more than MAX_LOSS; int8 must have been measured.
    """
    if wanted not in (AUTO, FLOAT32, BFLOAT16, INT8):
        raise PrecisionError(f"precision must be auto, float32, bfloat16 or int8, got {wanted!r}")
    if wanted == AUTO:
        return native_default if native_default and _refusal(native_default, scores) is None else FLOAT32
    if wanted == FLOAT32:
        return FLOAT32
    if native_default is None:
        raise PrecisionError(f"precision {wanted} needs the native decoder, and there is none")
    refusal = _refusal(wanted, scores)
    if refusal:
        raise PrecisionError(f"precision {wanted} is not offered for this model: {refusal}")
    return wanted


def loss(precision: str, scores: Mapping[str, float]) -> float | None:
    """Return the relative loss in bits per character against float32, None when it was not measured."""
    if FLOAT32 not in scores or precision not in scores:
        return None
    return scores[precision] / scores[FLOAT32] - 1


def _refusal(precision: str, scores: Mapping[str, float]) -> str | None:
    lost = loss(precision, scores)
    if lost is None:
        return "it was not measured on held-out text" if precision == INT8 else None
    if lost > MAX_LOSS:
        return f"it loses {lost:.2%} in bits per character, at most {MAX_LOSS:.1%} is allowed"
    return None
