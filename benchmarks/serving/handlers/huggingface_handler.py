"""A plain handler around Hugging Face generate, with TorchServe's own batching.

One batch is one call of generate: prompts are padded on the left, all rows run to the longest output that is
asked for, and each reply is cut to its own length. The sampling is NeuroQ's default.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from torch import nn
from transformers import GPT2LMHeadModel
from ts.torch_handler.base_handler import BaseHandler

_SAMPLING = {"do_sample": True, "temperature": 0.5, "top_k": 40, "top_p": 0.9, "repetition_penalty": 1.2}
_PAD_ID = 0
_HEALTHY = {"status": "healthy"}


class HuggingFaceHandler(BaseHandler):  # type: ignore[misc]  # TorchServe has no type hints
    """Serves GPT-2."""

    def initialize(self, context: Any) -> None:
        """Load the network and the tokenizer from the archive."""
        torch.set_num_threads(int(context.model_yaml_config["threads"]))
        folder = Path(context.system_properties["model_dir"])
        self._tokenizer = sentencepiece.SentencePieceProcessor(
            model_file=str(folder / "neuroq_tokenizer.model")
        )
        self._network = GPT2LMHeadModel.from_pretrained(folder, local_files_only=True).eval()
        # A row that has all its tokens runs on with its batch, beyond the positions that it needs itself.
        positions = self._network.transformer.wpe
        self._network.transformer.wpe = nn.Embedding(2 * positions.num_embeddings, positions.embedding_dim)
        self.initialized = True

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[str]:
        """Answer a batch."""
        bodies = [_body(item) for item in data]
        asked = [body for body in bodies if body.get("action") != "health"]
        replies = iter(self._generate(asked) if asked else [])
        for row in range(len(bodies)):
            context.set_response_content_type(row, "application/json")
        return [json.dumps(_HEALTHY if b.get("action") == "health" else next(replies)) for b in bodies]

    @torch.inference_mode()
    def _generate(self, bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
        prompts = [self._tokenizer.encode(body["prompt"]) for body in bodies]
        lengths = [body["max_length"] for body in bodies]
        width = max(map(len, prompts))
        padding = torch.tensor([width - len(prompt) for prompt in prompts])
        ids = torch.tensor([[_PAD_ID] * (width - len(p)) + p for p in prompts])  # (B, T)
        mask = (torch.arange(width) >= padding[:, None]).long()  # (B, T)
        outputs = self._network.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=max(lengths),
            eos_token_id=None,
            pad_token_id=_PAD_ID,
            **_SAMPLING,
        )
        return [
            self._reply(row[width : width + length])
            for row, length in zip(outputs.tolist(), lengths, strict=True)
        ]

    def _reply(self, ids: list[int]) -> dict[str, Any]:
        usage = {"completion_tokens": len(ids)}
        return {"generated": self._tokenizer.decode(ids), "finish_reason": "length", "usage": usage}


def _body(item: dict[str, Any]) -> dict[str, Any]:
    body = item["body"] if "body" in item else item["data"]
    body = json.loads(body) if isinstance(body, (bytes, bytearray, str)) else body
    inner: dict[str, Any] = body.get("input", body)
    return inner
