"""The QBNN layer: a sparse, entangled, recurrent layer of APQB neurons."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model import apqb

NOISE_SCALE = 0.1


class QBNN(nn.Module):
    """Map d inputs to d outputs through N neurons and S time steps, each position on its own.

        state_0 = P_in x
        u       = tanh(state_{s-1})
        drive   = state_{s-1} (W∘M) + λ · (u (J∘M)) ∘ u
        state_s = tanh(drive + 0.1 · T ∘ ε)          ε ~ N(0, I), T = |sin 2θ|
        y       = P_out state_S

    M is a constant Bernoulli mask with a zero diagonal. The noise is a regulariser: it is drawn in
    training only, so that inference is repeatable.
    """

    mask: Tensor

    def __init__(
        self, width: int, num_neurons: int, *, density: float, entanglement: float, num_steps: int
    ) -> None:
        super().__init__()
        self.num_steps = num_steps
        self.project_in = nn.Linear(width, num_neurons)
        self.project_out = nn.Linear(num_neurons, width)
        self.theta = nn.Parameter(torch.empty(num_neurons).uniform_(0.25, 1.25))
        self.weight = nn.Parameter(0.3 * torch.randn(num_neurons, num_neurons))  # W
        self.entangle = nn.Parameter(0.1 * torch.randn(num_neurons, num_neurons))  # J
        self.entanglement = nn.Parameter(torch.tensor(float(entanglement)))  # λ
        mask = torch.bernoulli(torch.full((num_neurons, num_neurons), density)).bool()
        self.register_buffer("mask", mask.fill_diagonal_(False))
        self._folded: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """x (..., d) -> (..., d)."""
        weight, entangle = self._folded or self.masked()
        state = self.project_in(x)  # (..., N)
        for _ in range(self.num_steps):
            u = torch.tanh(state)
            drive = state @ weight + (u @ entangle) * u
            if self.training:
                drive = drive + NOISE_SCALE * apqb.temperature(self.theta) * torch.randn_like(state)
            state = torch.tanh(drive)
        y: Tensor = self.project_out(state)
        return y

    def fold(self) -> None:
        """Compute W∘M and λ·(J∘M) once; the layer must not be trained or loaded into afterwards."""
        self._folded = self.masked()

    def masked(self) -> tuple[Tensor, Tensor]:
        """Return W∘M and λ·(J∘M)."""
        return self.weight * self.mask, self.entanglement * (self.entangle * self.mask)
