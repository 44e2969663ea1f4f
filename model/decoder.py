"""What the engine asks of a decode path: rows of token ids in, sampled ids out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from model.sampling import SamplingParams, TokenLogprobs


@dataclass(frozen=True)
class Row:
    """One sequence in one decode call.

    `pending_ids` (at least one) are not in the cache yet; the first belongs at `position`. `output_ids` is
    what the sequence has generated so far: the repetition penalty looks at its end, and its length is the
    index of the next random number. `temperature` is resolved, 0 is greedy. `limit` (at least 1) bounds the
    new ids of this call.
    """

    slot: int
    pending_ids: list[int]
    position: int
    output_ids: list[int]
    params: SamplingParams
    temperature: float
    limit: int


@dataclass(frozen=True)
class Decoded:
    """The new ids of a row; an end id, if one was drawn, is the last. The last id is not in the cache."""

    ids: list[int]
    logprobs: list[TokenLogprobs] | None = None


class Decoder(Protocol):
    """A network with its cache slots. A row's result depends on that row alone, bit for bit.

    It does not depend on its neighbours, on how its ids were split over calls, or on whether its prefix was
    computed for this request or an earlier one. Implementations: TorchDecoder, NativeDecoder; both take
    `(network, *, num_slots, end_ids, …)`.
    """

    @property
    def num_slots(self) -> int:
        """How many sequences the cache holds."""

    @property
    def context_length(self) -> int:
        """Positions of one slot."""

    @property
    def precision(self) -> str:
        """The weights' number format: float32, bfloat16 or int8."""

    def decode(self, rows: Sequence[Row]) -> list[Decoded]:
        """Run each row's pending ids, then sample and feed back until its limit or an end id."""

    def logits(self, ids: Sequence[int]) -> Tensor:
        """Return float32 logits (len(ids), vocab_size), for scoring. Writes over slot 0."""
