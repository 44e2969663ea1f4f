"""What is compared: NeuroQ, a plain GPT of as many parameters, and NeuroQ with one thing changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from model.config import ModelConfig
from model.network import Block, NeuroQ, initialise


def plain_gpt(config: ModelConfig) -> NeuroQ:
    """Return a network without QBNN layers whose MLPs are wide enough for NeuroQ's number of parameters."""
    wanted = NeuroQ(config).num_parameters
    network = NeuroQ(replace(config, attention_blend=0.0, mlp_blend=1.0, qbnn_blend=0.0))
    for block in network.blocks:
        assert isinstance(block, Block)
        block.attention.qbnn = block.qbnn = nn.Identity()  # type: ignore[assignment]
    width, layers = config.embed_dim, config.num_layers
    missing = (wanted - network.num_parameters) / layers
    hidden = 4 * width + round(missing / (2 * width + 1))
    for block in network.blocks:
        assert isinstance(block, Block)
        block.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        block.mlp.apply(initialise)
    return network


@dataclass(frozen=True)
class Variant:
    """A network to train: what it says of itself, and how it is made from the seed's configuration."""

    title: str
    changes: dict[str, Any]
    build: Callable[[ModelConfig], NeuroQ] = NeuroQ


VARIANTS: dict[str, Variant] = {
    "neuroq": Variant("NeuroQ, the seed's layers: two time steps, attention's blend 0.1", {}),
    "gpt": Variant("plain GPT, as many parameters", {}, plain_gpt),
    "one-step": Variant("one time step", {"num_steps": 1}),
    "three-steps": Variant("three time steps", {"num_steps": 3}),
    "dense": Variant("no mask: density 1", {"attention_density": 1.0, "mlp_density": 1.0}),
    "half-neurons": Variant("half the neurons", {"num_neurons": 50}),
    "no-attention": Variant("no QBNN layer in attention", {"attention_blend": 0.0}),
    "no-feed-forward": Variant("no QBNN layer beside the MLP", {"qbnn_blend": 0.0}),
    "equal-blend": Variant("MLP and QBNN alike: 0.7 and 0.7", {"qbnn_blend": 0.7}),
    "strong-attention": Variant("attention's blend 0.5 instead of 0.1", {"attention_blend": 0.5}),
    "one-step-strong": Variant(
        "one time step, attention's blend 0.5 (`--preset small`)", {"num_steps": 1, "attention_blend": 0.5}
    ),
    "entangled": Variant("λ begins at 1", {"attention_lambda": 1.0, "mlp_lambda": 1.0}),
    "tied": Variant("embedding and head share their weights", {"tied": True}),
}
