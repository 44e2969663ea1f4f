"""The random GPT-2 for CTranslate2; weights become int8 when a generator loads them as int8."""

from __future__ import annotations

from ctranslate2.converters import TransformersConverter

from benchmarks.anchors import CTRANSLATE2, HUGGING_FACE


def build() -> None:
    """Convert the Hugging Face folder."""
    TransformersConverter(str(HUGGING_FACE)).convert(str(CTRANSLATE2), force=True)
