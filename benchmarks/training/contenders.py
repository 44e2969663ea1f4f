"""What is compared: each trains on random text for ever and yields the tokens of each step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import ModelConfig
from model.network import NeuroQ
from train.arguments import TrainingArguments
from train.beginning import Beginning, make_trainer, model_config
from train.encoded import EncodedDocument, EncodedDocuments
from train.processes import Group, group, prepare_processor

SIZE = ModelConfig(rotary=False)  # the seed's, with its learned positions
THREADS = 2
CLIP_NORM = 1.0

Contender = Callable[[int, int], Iterator[int]]


def plain(batch_size: int, length: int) -> Iterator[int]:
    """The loop that one writes first: the seed's layers and recipe, float32, Adam."""
    network = NeuroQ(SIZE)
    yield from _loop(network, network, batch_size, length, torch.optim.Adam(network.parameters(), lr=0.002))


def gpt2(batch_size: int, length: int) -> Iterator[int]:
    """Hugging Face's GPT-2 of the same width and depth: bf16 autocast, fused AdamW."""
    from benchmarks.anchors.gpt2 import make  # noqa: PLC0415  # the benchmarks' own environment

    network = make(tied=False)

    def logits(ids: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return network(input_ids=ids, use_cache=False).logits.float()  # type: ignore[no-any-return]

    optimizer = torch.optim.AdamW(network.parameters(), lr=0.002, fused=True)
    yield from _loop(network, logits, batch_size, length, optimizer)


def neuroq(batch_size: int, length: int, optimizer: str = "muon") -> Iterator[int]:
    """The product's own trainer with its default recipe."""
    arguments = TrainingArguments(
        batch_size=batch_size, seq_length=length, optimizer=optimizer, epochs=100_000, processes=THREADS
    )
    random = np.random.default_rng(0)
    ids = [random.integers(10, SIZE.vocab_size, length + 1) for _ in range(batch_size * 50)]
    documents = EncodedDocuments.of(EncodedDocument(each, False, 0, 0) for each in ids)
    parts = (arguments, documents, Beginning(model_config(arguments, SIZE.vocab_size, documents)))
    prepare_processor()
    trainer = make_trainer(*parts)
    with group(arguments.processes, trainer.message_size, _work, *parts) as members:
        for report in trainer.run(members):
            yield report.num_tokens


def neuroq_adamw(batch_size: int, length: int) -> Iterator[int]:
    """The product's own trainer with the optimiser of the others."""
    return neuroq(batch_size, length, "adamw")


def _work(members: Group, *parts: Any) -> None:
    for _ in make_trainer(*parts).run(members):
        pass


def _loop(
    network: nn.Module,
    logits: Callable[[Tensor], Tensor],
    batch_size: int,
    length: int,
    optimizer: torch.optim.Optimizer,
) -> Iterator[int]:
    torch.set_num_threads(THREADS)
    network.train()
    while True:
        ids = torch.randint(10, SIZE.vocab_size, (batch_size, length + 1))
        optimizer.zero_grad()
        loss = F.cross_entropy(logits(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)
        optimizer.step()
        yield batch_size * length


CONTENDERS: dict[str, Contender] = {
    "plain": plain,
    "gpt2": gpt2,
    "neuroq-adamw": neuroq_adamw,
    "neuroq": neuroq,
}
