"""CTranslate2's generator."""

from __future__ import annotations

import ctranslate2

from benchmarks.anchors import CTRANSLATE2
from benchmarks.engine.workload import TEMPERATURE, TOP_K, TOP_P, Generate, prompts


def open_engine(batch_size: int, variant: str) -> Generate:
    """Variant: the compute type, float32 or int8."""
    generator = ctranslate2.Generator(
        str(CTRANSLATE2), device="cpu", compute_type=variant, inter_threads=1, intra_threads=1
    )

    def generate(new_tokens: int) -> int:
        results = generator.generate_batch(
            [[f"t{i}" for i in row] for row in prompts(batch_size)],
            max_length=new_tokens,
            min_length=new_tokens,
            include_prompt_in_result=False,
            sampling_topk=TOP_K,
            sampling_topp=TOP_P,
            sampling_temperature=TEMPERATURE,
        )
        return sum(len(result.sequences_ids[0]) for result in results)

    return generate
