"""What a model writes to fixed prompts while it learns."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

from model.dialogue import Style, encode_prompt
from model.engine import Engine
from model.network import NeuroQ
from model.sampling import SamplingParams
from model.tokenizer import Tokenizer
from model.torch_decoder import TorchDecoder

PROMPTS: dict[Style, tuple[str, ...]] = {
    "dialogue": ("こんにちは", "あなたは誰ですか？", "今日は何をしましたか？", "おすすめの本はありますか？"),
    "text": ("ある日のこと、", "私は", "春になると", "その町には"),
}
# Greedy: what changes from one sample to the next is the model, not the draw.
GREEDY = SamplingParams(max_new_tokens=24, temp_min=0.0, temp_max=0.0)
# Drawn as a server draws them, longer, several to a prompt: enough text to measure.
DRAWN = tuple(SamplingParams(max_new_tokens=64, seed=seed) for seed in range(2))


@dataclass(frozen=True)
class Sample:
    """A prompt, and what the model went on with."""

    prompt: str
    text: str


def take_samples(
    model: NeuroQ, tokenizer: Tokenizer, style: Style, params: Sequence[SamplingParams] = (GREEDY,)
) -> tuple[Sample, ...]:
    """Let a copy of the model reply to the prompts of its style; those too long for its context are left out.

    The model stays as it is, and so does every random state: sampling has none (model/draws.py).
    """
    network = copy.deepcopy(model)
    requests = [(prompt, each) for prompt in PROMPTS[style] for each in params]
    decoder = TorchDecoder(network, num_slots=len(requests), end_ids=tokenizer.stop_ids)
    engine = Engine(decoder, temperature=network.quantum_temperature, end_ids=tokenizer.stop_ids)
    written: dict[tuple[str, SamplingParams], list[int]] = {}
    for request in requests:
        prompt, each = request
        ids = encode_prompt(tokenizer, (), prompt, style=style, max_tokens=engine.context_length)
        if len(ids) <= engine.context_length:
            engine.add(request, ids, each)
            written[request] = []
    while engine.num_running or engine.num_waiting:
        progress = engine.step(max(each.max_new_tokens for each in params))
        for request, ids in written.items():
            if request in progress:
                ids.extend(progress[request].new_ids)
    return tuple(Sample(prompt, tokenizer.decode(ids)) for (prompt, _), ids in written.items())
