"""NeuroQ through its own engine, several tokens a step, as its server drives it."""

from __future__ import annotations

from itertools import count

import torch

from benchmarks.anchors import SEED, SIZE
from benchmarks.engine.workload import TEMPERATURE, TOP_K, TOP_P, Generate, prompts
from model.decoder import Decoder
from model.engine import Engine
from model.native.decoder import NativeDecoder
from model.network import NeuroQ
from model.sampling import SamplingParams
from model.torch_decoder import TorchDecoder

TOKENS_PER_STEP = 32


def random_network() -> NeuroQ:
    """Return NeuroQ at the seed's size with random weights."""
    torch.manual_seed(SEED)
    return NeuroQ(SIZE).eval()


def open_engine(batch_size: int, variant: str) -> Generate:
    """Variant: a precision of the native decode path, or pytorch for the reference path."""
    torch.set_num_threads(1)
    network = random_network()
    engine = Engine(
        _decoder(network, batch_size, variant), temperature=network.quantum_temperature, end_ids=()
    )
    requests = count()

    def generate(new_tokens: int) -> int:
        for prompt in prompts(batch_size):
            request = next(requests)
            engine.add(request, prompt, _sampling(new_tokens, seed=request))
        made = 0
        while engine.num_running or engine.num_waiting:
            made += sum(len(progress.new_ids) for progress in engine.step(TOKENS_PER_STEP).values())
        return made

    return generate


def _sampling(new_tokens: int, seed: int) -> SamplingParams:
    """What the rivals do: no repetition penalty."""
    return SamplingParams(
        max_new_tokens=new_tokens,
        temp_min=TEMPERATURE,
        temp_max=TEMPERATURE,
        top_k=TOP_K,
        top_p=TOP_P,
        repetition_penalty=1.0,
        seed=seed,
    )


def _decoder(network: NeuroQ, num_slots: int, variant: str) -> Decoder:
    if variant == "pytorch":
        return TorchDecoder(network, num_slots=num_slots)
    return NativeDecoder(network, num_slots=num_slots, precision=variant)
