"""Which decode path serves a network on this machine."""

from __future__ import annotations

from collections.abc import Collection

import torch

from model.decoder import Decoder
from model.network import NeuroQ
from model.torch_decoder import TorchDecoder


def open_decoder(
    network: NeuroQ,
    *,
    num_slots: int,
    end_ids: Collection[int],
    device: torch.device | str = "cpu",
    precision: str = "auto",
    threads: int = 1,
) -> Decoder:
    """Return the fastest decode path for a device."""
    return TorchDecoder(network, num_slots=num_slots, end_ids=end_ids, device=device)
