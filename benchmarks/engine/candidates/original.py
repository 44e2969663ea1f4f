"""NeuroQ's layers as the original generates: no cache, every token runs all that came before it."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.anchors import SIZE
from benchmarks.engine.candidates.neuroq import random_network
from benchmarks.engine.workload import TEMPERATURE, TOP_K, TOP_P, Generate, prompts


def open_engine(batch_size: int, variant: str) -> Generate:
    """There is one variant."""
    torch.set_num_threads(1)
    network = random_network()

    @torch.no_grad()
    def generate(new_tokens: int) -> int:
        ids = torch.tensor(prompts(batch_size))
        for _ in range(new_tokens):
            logits = network(ids[:, -SIZE.context_length :])[:, -1]
            ids = torch.cat([ids, _sample(logits)], dim=1)
        return batch_size * new_tokens

    return generate


def _sample(logits: Tensor) -> Tensor:
    """Logits (B, vocab_size) -> ids (B, 1): top-k over the vocabulary, then a full sort for top-p."""
    logits = logits / TEMPERATURE
    logits[logits < logits.topk(TOP_K)[0][:, -1:]] = -torch.inf
    values, order = logits.sort(descending=True)
    probs = values.softmax(-1)
    beyond = probs.cumsum(-1) - probs >= TOP_P
    logits[beyond.scatter(1, order, beyond)] = -torch.inf
    return torch.multinomial(logits.softmax(-1), num_samples=1)
