"""The parts of a training step that PyTorch takes many passes for, each with its gradient."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from train.native.library import kernels
from train.noise import NoiseTable

_CHUNK = 1024  # rows of logits at a time


def linear_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """hidden (M, d), weight (V, d), targets (M) with negative ones left out -> nats, a scalar."""
    return _apply(_LinearCrossEntropy, hidden, weight, targets)


def recurrence(
    state: Tensor, weight: Tensor, entangle: Tensor, amplitude: Tensor, num_steps: int, table: NoiseTable
) -> Tensor:
    """Return a QBNN layer's last state, (M, N) like the first; see model/qbnn.py.

    weight W∘M and entangle λ(J∘M) are (N, N), amplitude, the noise's, is (N).
    """
    return _apply(_Recurrence, state, weight, entangle, amplitude, num_steps, table)


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """q, k, v (R, T, hd), bias (R, T, T) with -inf where a query may not attend -> (R, T, hd)."""
    return _apply(_Attention, q, k, v, bias)


def _apply(function: type[torch.autograd.Function], *arguments: Any) -> Tensor:
    return function.apply(*arguments)  # type: ignore[no-any-return, no-untyped-call]


class _LinearCrossEntropy(torch.autograd.Function):
    """Cross entropy of a linear layer's logits, summed over the rows: never are all logits in memory.

    The gradient takes the logits' place in the forward pass already, so they are never read again.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        low = weight.to(hidden.dtype)
        logits = hidden.new_empty(min(_CHUNK, len(hidden)), len(weight))
        d_hidden, d_weight, nats = torch.empty_like(hidden), torch.zeros_like(low), 0.0
        parts = (torch.split(tensor, _CHUNK) for tensor in (hidden, targets, d_hidden))
        for rows, ids, d_rows in zip(*parts, strict=True):
            chunk = torch.mm(rows, low.t(), out=logits[: len(rows)])
            nats += kernels().call("cross_entropy", chunk, ids, *chunk.shape)
            torch.mm(chunk, low, out=d_rows)
            d_weight.addmm_(chunk.t(), rows)
        ctx.save_for_backward(d_hidden, d_weight.to(weight.dtype))
        return torch.tensor(nats)

    @staticmethod
    def backward(ctx: Any, d_nats: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients, from the scalar's own."""
        d_hidden, d_weight = ctx.saved_tensors
        return d_hidden.mul_(d_nats), d_weight.mul_(d_nats), None


class _Recurrence(torch.autograd.Function):
    """The time steps of a QBNN layer, from its first state to its last; see model/qbnn.py."""

    @staticmethod
    def forward(
        ctx: Any,
        state: Tensor,
        weight: Tensor,
        entangle: Tensor,
        amplitude: Tensor,
        num_steps: int,
        table: NoiseTable,
    ) -> Tensor:
        steps: list[Tensor] = []
        for _ in range(num_steps):
            u, after = torch.empty_like(state), torch.empty_like(state)
            kernels().call("tanh", state, u, state.numel())
            b, noise = u @ entangle, table.draw(state.numel())
            kernels().call("step", state @ weight, b, u, noise, amplitude, after, *state.shape)
            steps += state, u, b, noise
            state = after
        ctx.save_for_backward(weight, entangle, amplitude, *steps, state)
        return state

    @staticmethod
    def backward(ctx: Any, d_last: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of state, weight, entangle and amplitude."""
        weight, entangle, amplitude, *steps, after = ctx.saved_tensors
        d_weight, d_entangle = torch.zeros_like(weight), torch.zeros_like(entangle)
        d_amplitude = torch.zeros_like(amplitude)
        d_state = d_last.contiguous()
        while steps:
            *steps, state, u, b, noise = steps
            d_drive, d_b, d_u = (torch.empty_like(state) for _ in range(3))
            kernels().call(
                "step_backward", d_state, after, b, u, noise, d_drive, d_b, d_u, d_amplitude, *state.shape
            )
            d_weight.addmm_(state.t(), d_drive)
            d_entangle.addmm_(u.t(), d_b)
            d_state = d_drive @ weight.t()
            kernels().call("add_through_tanh", d_state, d_u.addmm_(d_b, entangle.t()), u, state.numel())
            after = state
        return d_state, d_weight, d_entangle, d_amplitude, None, None


class _Attention(torch.autograd.Function):
    """Scaled dot-product attention by two products and a softmax: the soonest for some hundred tokens."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        p = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=1 / math.sqrt(q.shape[-1])).softmax(-1)
        ctx.save_for_backward(q, k, v, p)
        return p @ v

    @staticmethod
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of q, k and v."""
        q, k, v, p = ctx.saved_tensors
        scale = 1 / math.sqrt(q.shape[-1])
        d_scores = torch._softmax_backward_data(d_y @ v.transpose(1, 2), p, -1, p.dtype).mul_(scale)
        return d_scores @ k, d_scores.transpose(1, 2) @ q, p.transpose(1, 2) @ d_y, None
