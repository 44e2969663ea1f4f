"""The workload's sampling in PyTorch: top-k first, top-p among those, one uniform number a draw."""

from __future__ import annotations

from torch import Tensor

from benchmarks.engine.workload import TEMPERATURE, TOP_K, TOP_P


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """Logits (B, vocab_size) and uniform draws (B, 1) -> ids (B, 1)."""
    values, candidates = logits.topk(TOP_K)
    probs = (values / TEMPERATURE).softmax(-1)
    probs = probs * (probs.cumsum(-1) - probs < TOP_P)
    cumulative = probs.cumsum(-1)
    chosen = (cumulative <= uniform * cumulative[:, -1:]).sum(-1, keepdim=True)
    return candidates.gather(1, chosen.clamp(max=TOP_K - 1))
