"""What a network scores in each precision that this machine can serve it in."""

from __future__ import annotations

import time

from model.native import build
from model.native.decoder import NativeDecoder, is_available
from model.network import NeuroQ
from model.precision import BFLOAT16, FLOAT32, INT8
from train.encoded import EncodedDocuments
from train.score import EVERYTHING, Bounds, score_decoder

_FIRST_SHARE = 1 / 3  # of the time, for the first of three precisions


def bits_per_char_by_precision(
    network: NeuroQ, documents: EncodedDocuments, until: float | None = None
) -> dict[str, float]:
    """Return precision -> bits per character; nothing where there is no native decoder or no document.

    What the first one can score in its share of the time until `until` (time.monotonic) is what all score:
    else nobody could compare them.
    """
    if not len(documents) or not _is_native():
        return {}
    now = time.monotonic()
    bounds = EVERYTHING if until is None else Bounds(until=now + _FIRST_SHARE * (until - now))
    scores = {}
    for precision in (FLOAT32, BFLOAT16, INT8):
        decoder = NativeDecoder(network, num_slots=1, precision=precision)
        result = score_decoder(decoder, documents.by_key(), bounds)
        scores[precision] = round(result.bits_per_char, 4)
        if bounds.is_sample:
            bounds = Bounds(num_batches=result.num_batches)
    return scores


def _is_native() -> bool:
    try:
        build.build()
    except build.BuildError:
        return False
    return is_available()
