"""The native decode path: a Decoder whose whole loop over many tokens runs in C++."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from model.decoder import Decoded, Row
from model.native import library
from model.native.rows import NativeCall, check_ids, check_range, id_array
from model.native.weights import FoldedNetwork, fold
from model.network import NeuroQ
from model.sampling import FLUCTUATION_SCALE

PRECISIONS = ("float32", "bfloat16", "int8")  # in the order of neuroq_precision


def is_available() -> bool:
    """Whether the library was built and loads."""
    return library.load() is not None


def isa() -> str:
    """Return the instruction set in use. Raises RuntimeError where there is no library."""
    name: bytes = _library().neuroq_isa()
    return name.decode()


def default_precision() -> str:
    """Return "bfloat16" where the processor multiplies such numbers itself, else "float32"."""
    return "bfloat16" if _library().neuroq_has_bfloat16() else "float32"


class NativeDecoder:
    """Decodes with the native library; one thread may call it at a time.

    Weights and cache are its own: the network is read once, here. `threads` share the rows of a call. Raises
    RuntimeError where there is no library, MemoryError, and ValueError for a setting out of range.
    """

    def __init__(
        self,
        network: NeuroQ,
        *,
        num_slots: int,
        end_ids: Collection[int] = (),
        precision: str = "float32",
        threads: int = 1,
    ) -> None:
        config = network.config
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
        check_range("num_slots", num_slots, 1, 2**20)
        check_range("threads", threads, 1, 2**10)
        check_ids("end_ids", end_ids, config.vocab_size)
        self.num_slots = num_slots
        self.context_length = config.context_length
        self.precision = precision
        self._vocab_size = config.vocab_size
        self._library = _library()
        ends = id_array(end_ids)
        native_config = library.Config(
            vocab_size=config.vocab_size,
            embed_dim=config.embed_dim,
            num_heads=config.num_heads,
            num_layers=config.num_layers,
            num_neurons=config.num_neurons,
            num_steps=config.num_steps,
            context_length=config.context_length,
            precision=PRECISIONS.index(precision),
            num_slots=num_slots,
            threads=threads,
            num_end_ids=len(ends),
            end_ids=ctypes.addressof(ends),
            fluctuation=FLUCTUATION_SCALE * network.quantum_fluctuation(),
        )
        self._handle = _open(self._library, native_config, fold(network))
        weakref.finalize(self, self._library.neuroq_close, self._handle)

    def decode(self, rows: Sequence[Row]) -> list[Decoded]:
        """See Decoder.decode. Raises ValueError that names a field out of range; nothing has run then."""
        if len({row.slot for row in rows}) < len(rows):
            raise ValueError("slot must be another one in each row")
        for row in rows:
            self._check_places(row)
        calls = [NativeCall(row, self._vocab_size) for row in rows]
        native = (library.NativeRow * len(rows))(*(call.native for call in calls))
        self._library.neuroq_decode(self._handle, native, len(rows))
        return [call.decoded(each.num_ids) for call, each in zip(calls, native, strict=True)]

    def logits(self, ids: Sequence[int]) -> Tensor:
        """See Decoder.logits. Raises ValueError for an id out of range and for too many ids."""
        check_range("the number of ids", len(ids), 0, self.context_length)
        check_ids("ids", ids, self._vocab_size)
        out = torch.empty(len(ids), self._vocab_size)
        self._library.neuroq_logits(self._handle, id_array(ids), len(ids), out.data_ptr())
        return out

    def _check_places(self, row: Row) -> None:
        """Every id that runs must have a position; a row's last new one does not run."""
        check_range("slot", row.slot, 0, self.num_slots - 1)
        check_range("position", row.position, 0, self.context_length - 1)
        check_range("the number of pending_ids", len(row.pending_ids), 1, self.context_length - row.position)
        room = self.context_length - row.position - len(row.pending_ids) + 1
        check_range("limit", row.limit, 1, room)


def _library() -> ctypes.CDLL:
    loaded = library.load()
    if loaded is None:
        raise RuntimeError("the native library is not there: run `python -m model.native.build`")
    return loaded


def _open(native: ctypes.CDLL, config: library.Config, folded: FoldedNetwork) -> int:
    """Return a handle; the folded arrays are copied, and only needed until then."""
    layers = (library.LayerWeights * len(folded.layers))()
    for layer, arrays in zip(layers, folded.layers, strict=True):
        for name, array in arrays.items():
            setattr(layer, name, array.ctypes.data)
    weights = library.Weights(layers=layers)
    for name, each in folded.arrays.items():
        setattr(weights, name, None if each is None else each.ctypes.data)
    handle: int | None = native.neuroq_open(ctypes.byref(config), ctypes.byref(weights))
    if handle is None:
        raise MemoryError("no memory or no threads for the native decoder")
    return handle
