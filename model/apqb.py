"""APQB, the adjustable pseudo quantum bit: one angle θ stands for |ψ⟩ = cos θ |0⟩ + sin θ |1⟩.

Nothing here is quantum hardware: these are ordinary functions of an ordinary tensor of angles.
"""

from __future__ import annotations

import torch
from torch import Tensor


def correlation(theta: Tensor) -> Tensor:
    """Return r = cos 2θ, in [-1, 1]; same shape as `theta` (radians)."""
    return torch.cos(2 * theta)


def temperature(theta: Tensor) -> Tensor:
    """Return the fluctuation T = |sin 2θ|, in [0, 1]; with r it keeps r² + T² = 1."""
    return torch.sin(2 * theta).abs()


def probability_one(theta: Tensor) -> Tensor:
    """Return P(1) = sin² θ; P(0) is what remains to 1."""
    return torch.sin(theta) ** 2


def angle(r: Tensor) -> Tensor:
    """Return θ = arccos(r) / 2 for a correlation r in [-1, 1]; θ in [0, π/2]."""
    return torch.arccos(r) / 2


def k_body_correlation(theta: Tensor, k: int) -> Tensor:
    """Return Q_k(θ): cos 2kθ for even k, sin 2kθ for odd k (k >= 1)."""
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    return torch.sin(2 * k * theta) if k % 2 else torch.cos(2 * k * theta)
