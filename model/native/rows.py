"""A decode call's rows, on their way into native memory and back."""

from __future__ import annotations

import math
from collections.abc import Collection
from ctypes import addressof, c_float, c_int32
from typing import TypeAlias

from model.decoder import Decoded, Row
from model.native.library import NativeRow
from model.sampling import PENALTY_WINDOW, TokenLogprobs

_SEED_MASK = 2**64 - 1


class NativeCall:
    """One row with the memory that its results are written to."""

    def __init__(self, row: Row, vocab_size: int) -> None:
        """Raises ValueError that names a field out of range; the slot and positions are checked before."""
        params, limit = row.params, row.limit
        recent = row.output_ids[-PENALTY_WINDOW:] if params.repetition_penalty != 1.0 else []
        check_ids("output_ids", recent, vocab_size)
        check_ids("pending_ids", row.pending_ids, vocab_size)
        check_range("top_k", params.top_k, 0, math.inf)
        check_range("temperature", row.temperature, -math.inf, math.inf)
        check_range("repetition_penalty", params.repetition_penalty, 0, math.inf)
        self._num_top = -1
        if params.logprobs is not None:
            check_range("logprobs", params.logprobs, 0, math.inf)
            self._num_top = min(params.logprobs, vocab_size)
        self._pending, self._recent = id_array(row.pending_ids), id_array(recent)
        self._ids = (c_int32 * limit)()
        self._logprobs = (c_float * (limit if self._num_top >= 0 else 0))()
        num_top = limit * max(self._num_top, 0)
        self._top_ids, self._top_logprobs = (c_int32 * num_top)(), (c_float * num_top)()
        self.native = NativeRow(
            slot=row.slot,
            position=row.position,
            num_pending=len(row.pending_ids),
            num_recent=len(recent),
            index=len(row.output_ids),
            limit=limit,
            top_k=min(params.top_k, vocab_size),
            num_logprobs=self._num_top,
            quantum_noise=params.quantum_noise,
            repetition_penalty=params.repetition_penalty,
            temperature=row.temperature,
            top_p=params.top_p,
            seed=params.seed & _SEED_MASK,
            pending=addressof(self._pending),
            recent=addressof(self._recent),
            ids=addressof(self._ids),
            logprobs=addressof(self._logprobs),
            top_ids=addressof(self._top_ids),
            top_logprobs=addressof(self._top_logprobs),
        )

    def decoded(self, num_ids: int) -> Decoded:
        """Return what the call brought."""
        ids = self._ids[:num_ids]
        if self._num_top < 0:
            return Decoded(ids)
        return Decoded(ids, [TokenLogprobs(self._logprobs[i], self._top(i)) for i in range(num_ids)])

    def _top(self, index: int) -> tuple[tuple[int, float], ...]:
        part = slice(index * self._num_top, (index + 1) * self._num_top)
        return tuple(zip(self._top_ids[part], self._top_logprobs[part], strict=True))


IdArray: TypeAlias = "c_int32 * int"  # type: ignore[valid-type]


def id_array(ids: Collection[int]) -> IdArray:
    """Return ids as native memory."""
    return (c_int32 * len(ids))(*ids)


def check_ids(name: str, ids: Collection[int], vocab_size: int) -> None:
    """Raise ValueError unless all ids are in the vocabulary."""
    if ids and not (min(ids) >= 0 and max(ids) < vocab_size):
        raise ValueError(f"{name} must be between 0 and {vocab_size - 1}, got {min(ids)} to {max(ids)}")


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise ValueError unless low <= value <= high; NaN is outside of any range."""
    if not low <= value <= high:
        raise ValueError(f"{name} must be between {low} and {high}, got {value}")
