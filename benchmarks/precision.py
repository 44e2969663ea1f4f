"""What reduced precision costs: bits per character on text, and greedy texts against the PyTorch path."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click
import torch

from benchmarks.machine import as_markdown, describe
from benchmarks.markdown import table
from model.decoder import Decoder, Row
from model.native.decoder import NativeDecoder
from model.network import NeuroQ
from model.precision import FLOAT32, MAX_LOSS, loss
from model.sampling import SamplingParams
from model.tokenizer import Tokenizer
from model.torch_decoder import TorchDecoder
from train.arguments import DEFAULT_CHECKPOINT_PATH
from train.corpus import Document, read_documents
from train.encoded import encode
from train.precision import bits_per_char_by_precision
from train.remote import open_checkpoint

NUM_PROMPTS, NUM_NEW_TOKENS, MAX_PROMPT_TOKENS = 50, 200, 50
TIE = 1e-5  # a float32 logit of 10 has an error of about 3e-6
GREEDY = SamplingParams(max_new_tokens=NUM_NEW_TOKENS, temp_min=0, temp_max=0)


def greedy_ids(decoder: Decoder, prompts: Sequence[list[int]]) -> list[list[int]]:
    """Continue each prompt by NUM_NEW_TOKENS ids, without an end."""
    rows = [Row(0, prompt, 0, [], GREEDY, 0.0, NUM_NEW_TOKENS) for prompt in prompts]
    return [decoder.decode([row])[0].ids for row in rows]


def compare_greedy_texts(network: NeuroQ, prompts: Sequence[list[int]]) -> tuple[int, int]:
    """Return how many prompts the native float32 path continues exactly as the PyTorch path, and how many
    others part at a tie: where exact arithmetic puts the two symbols within TIE of each other.
    """
    reference = greedy_ids(TorchDecoder(network, num_slots=1), prompts)
    native = greedy_ids(NativeDecoder(network, num_slots=1, precision=FLOAT32), prompts)
    exact = NeuroQ(network.config).eval()
    exact.load_state_dict(network.state_dict())
    exact.double()
    texts = list(zip(prompts, reference, native, strict=True))
    same = sum(a == b for _, a, b in texts)
    return same, sum(_part_at_a_tie(exact, *text) for text in texts if text[1] != text[2])


@torch.inference_mode()
def _part_at_a_tie(exact: NeuroQ, prompt: list[int], a: list[int], b: list[int]) -> bool:
    place = next(i for i, (one, other) in enumerate(zip(a, b, strict=True)) if one != other)
    ids = [*prompt, *a[:place]][-exact.config.context_length :]
    logits = exact(torch.tensor([ids]))[0, -1]
    gap: float = abs(logits[a[place]] - logits[b[place]]).item()
    return gap < TIE


def prompts_of(documents: Sequence[Document], tokenizer: Tokenizer) -> list[list[int]]:
    """Return the beginnings of the first documents, as ids."""
    return [document.encode(tokenizer)[:MAX_PROMPT_TOKENS] for document in documents[:NUM_PROMPTS]]


@click.command(name="precision")
@click.argument("texts", nargs=-1, required=True)
@click.option("--checkpoint_path", "--checkpoint-path", default=DEFAULT_CHECKPOINT_PATH, show_default=True)
@click.option("--output", default="docs/benchmarks", show_default=True, help="Folder of the table.")
def main(texts: tuple[str, ...], checkpoint_path: str, output: str) -> None:
    """Measure a checkpoint on TEXTS that it was not trained on (files as for train)."""
    torch.set_num_threads(1)
    opened = open_checkpoint(checkpoint_path)
    documents = read_documents(texts)
    network = opened.checkpoint.build().freeze()
    scores = bits_per_char_by_precision(network, encode(documents, opened.tokenizer))
    prompts = prompts_of(documents, opened.tokenizer)
    same, ties = compare_greedy_texts(network, prompts)
    page = _page(scores, (same, ties, len(prompts)), sum(d.num_characters for d in documents))
    Path(output).mkdir(parents=True, exist_ok=True)
    Path(output, "precision.md").write_text("\n".join([page, *as_markdown(describe(["torch"])), ""]))
    click.echo(page)
    sys.exit(same + ties < len(prompts) or any((loss(name, scores) or 0) > MAX_LOSS for name in scores))


def _page(scores: dict[str, float], greedy: tuple[int, int, int], num_characters: int) -> str:
    same, ties, num_prompts = greedy
    rows = [[name, f"{score:.4f}", f"{loss(name, scores):+.2%}"] for name, score in scores.items()]
    return "\n".join(
        [
            "# Precision",
            "",
            f"Bits per character on {num_characters:,} characters of held-out text; "
            f"at most {MAX_LOSS:+.1%} is allowed.",
            "",
            *table(["weights", "bits per character", "against float32"], rows),
            "",
            f"Greedy text of {NUM_NEW_TOKENS} tokens, native float32 against the PyTorch path: "
            f"{same} of {num_prompts} prompts identical, {ties} part where two logits lie within {TIE:g}.",
            "",
        ]
    )


if __name__ == "__main__":
    main()
