"""Which decode path serves a network on this machine."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch

from model.decoder import Decoder
from model.native import decoder as native
from model.network import NeuroQ
from model.precision import AUTO, choose_precision
from model.torch_decoder import TorchDecoder


def open_decoder(
    network: NeuroQ,
    *,
    num_slots: int,
    end_ids: Collection[int],
    device: torch.device | str = "cpu",
    threads: int = 1,
    precision: str = AUTO,
    scores: Mapping[str, float] | None = None,
) -> Decoder:
    """Return the native decoder on a processor, PyTorch on a GPU and where the native library is missing.

    `scores` are the bits per character by precision that decide what `precision` may be. Raises
    PrecisionError.
    """
    is_native = torch.device(device).type == "cpu" and native.is_available()
    chosen = choose_precision(precision, native.default_precision() if is_native else None, scores or {})
    if is_native:
        return native.NativeDecoder(
            network, num_slots=num_slots, end_ids=end_ids, precision=chosen, threads=threads
        )
    return TorchDecoder(network, num_slots=num_slots, end_ids=end_ids, device=device)
