"""A random GPT-2 of NeuroQ's size, as a Hugging Face folder: the network that the rivals share."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from benchmarks.anchors import HUGGING_FACE, SEED, SIZE

# The ids of these are 0, 1 and 2, and "t3", "t4", ... name the others: a prompt is a list of such words.
SPECIAL_TOKENS = ("<unk>", "<s>", "</s>")


def build() -> None:
    """Write the network and a tokenizer of one word per id."""
    torch.manual_seed(SEED)
    network = make()
    _tokenizer().save_pretrained(HUGGING_FACE)
    network.save_pretrained(HUGGING_FACE)


def make(*, tied: bool = True) -> GPT2LMHeadModel:
    """Return a network of random weights; `tied`: the token embedding is the output head, too."""
    config = GPT2Config(
        vocab_size=SIZE.vocab_size,
        n_positions=SIZE.context_length,
        n_embd=SIZE.embed_dim,
        n_layer=SIZE.num_layers,
        n_head=SIZE.num_heads,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=tied,
    )
    return GPT2LMHeadModel(config)


def words() -> list[str]:
    """Return every token's text, in order of the ids."""
    return [*SPECIAL_TOKENS, *(f"t{i}" for i in range(len(SPECIAL_TOKENS), SIZE.vocab_size))]


def _tokenizer() -> PreTrainedTokenizerFast:
    ids = {word: i for i, word in enumerate(words())}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
