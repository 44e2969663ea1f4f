"""NeuroQ's model for the benchmark: the seed's size, random weights, replies of the length asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.anchors import SEED, SIZE
from model.checkpoint import CHECKPOINT_NAME, Checkpoint
from model.network import NeuroQ
from model.tokenizer import Tokenizer
from train.corpus import BUILT_IN, read_documents
from train.encoded import encode
from train.precision import bits_per_char_by_precision
from train.tokenizer import train_tokenizer

# The last norm gives its first value to a constant, which the end symbols' rows of the head turn into a
# logit far below all others: random weights would end one reply in seven before its 200 tokens.
_CONSTANT, _END_WEIGHT = 4.0, -4.0

_NUM_SCORED = 50  # documents that int8 is measured on: it is not served otherwise


@dataclass(frozen=True)
class Model:
    """A checkpoint with its tokenizer, and the text that prompts are pieces of."""

    checkpoint: Path
    tokenizer: Tokenizer
    text: str


def make_model(folder: Path) -> Model:
    """Write a random checkpoint and a tokenizer trained on the built-in corpus into a folder."""
    documents = read_documents([str(BUILT_IN / "varied")])
    tokenizer = train_tokenizer(documents, SIZE.vocab_size)
    torch.manual_seed(SEED)
    network = NeuroQ(SIZE)
    never_end(network, tokenizer)
    folder.mkdir(parents=True, exist_ok=True)
    scores = bits_per_char_by_precision(network, encode(documents[:_NUM_SCORED], tokenizer))
    lineage = {"style": "dialogue", "metrics": {"bits_per_char_by_precision": scores}, "data": {}}
    parts = (SIZE, network.state_dict(), tokenizer.sha256, lineage, tokenizer.model_bytes)
    Checkpoint(*parts).save(folder / CHECKPOINT_NAME)
    text = "\n".join(line for document in documents for line in document.lines)
    return Model(folder / CHECKPOINT_NAME, tokenizer, text)


@torch.no_grad()
def never_end(network: NeuroQ, tokenizer: Tokenizer) -> None:
    """Make the symbols that end a reply as good as impossible."""
    network.norm.weight[0], network.norm.bias[0] = 0.0, _CONSTANT
    network.head.weight[:, 0] = 0.0
    network.head.weight[sorted(tokenizer.stop_ids), 0] = _END_WEIGHT
