"""Hugging Face transformers: generate() with its own key/value cache."""

from __future__ import annotations

import torch
from transformers import AutoModelForCausalLM

from benchmarks.anchors import HUGGING_FACE
from benchmarks.engine.workload import TEMPERATURE, TOP_K, TOP_P, Generate, prompts


def open_engine(batch_size: int, variant: str) -> Generate:
    """There is one variant."""
    torch.set_num_threads(1)
    network = AutoModelForCausalLM.from_pretrained(HUGGING_FACE).eval()
    network.generation_config.eos_token_id = None
    network.generation_config.pad_token_id = 0

    def generate(new_tokens: int) -> int:
        ids = torch.tensor(prompts(batch_size))  # (B, T)
        with torch.inference_mode():
            output = network.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=new_tokens,
                do_sample=True,
                temperature=TEMPERATURE,
                top_k=TOP_K,
                top_p=TOP_P,
            )
        return int(output[:, ids.shape[1] :].numel())

    return generate
