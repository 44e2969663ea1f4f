"""What a network scores in each precision that this machine can serve it in."""

from __future__ import annotations

from model.native import build
from model.native.decoder import NativeDecoder, is_available
from model.network import NeuroQ
from model.precision import BFLOAT16, FLOAT32, INT8
from train.encoded import EncodedDocuments
from train.score import score_decoder


def bits_per_char_by_precision(network: NeuroQ, documents: EncodedDocuments) -> dict[str, float]:
    """Return precision -> bits per character; nothing where there is no native decoder or no document."""
    if not len(documents) or not _is_native():
        return {}
    scores = {}
    for precision in (FLOAT32, BFLOAT16, INT8):
        decoder = NativeDecoder(network, num_slots=1, precision=precision)
        scores[precision] = round(score_decoder(decoder, documents).bits_per_char, 4)
    return scores


def _is_native() -> bool:
    try:
        build.build()
    except build.BuildError:
        return False
    return is_available()
