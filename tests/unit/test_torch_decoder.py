"""The reference decode path against the network's own forward pass, on the CPU and where there is a GPU."""

from __future__ import annotations

import pytest
import torch

from model.decoder import Decoder, Row
from model.sampling import SamplingParams
from model.torch_decoder import TorchDecoder
from tests.conftest import tiny_model

pytestmark = pytest.mark.unit
V = 120
DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
    ),
]
IDS = torch.randint(4, V, (40,), generator=torch.Generator().manual_seed(1)).tolist()


def row(slot: int, ids: list[int], limit: int = 12, **params: float) -> Row:
    sampling = SamplingParams(seed=slot, **params)  # type: ignore[arg-type]
    return Row(slot, ids, 0, [], sampling, temperature=0.7, limit=limit)


@pytest.fixture(params=DEVICES)
def decoder(request: pytest.FixtureRequest) -> Decoder:
    torch.set_num_threads(1)
    return TorchDecoder(tiny_model(V), num_slots=12, device=request.param)


def test_logits_are_those_of_the_plain_forward_pass(decoder: Decoder) -> None:
    with torch.inference_mode():
        whole = tiny_model(V)(torch.tensor([IDS]))[0]
    assert (decoder.logits(IDS) - whole).abs().max() < 1e-4


def test_a_row_gives_the_same_ids_alone_in_company_and_in_pieces(decoder: Decoder) -> None:
    rows = [row(slot, IDS[: 1 + 3 * slot], limit=5 + slot) for slot in range(12)]
    together = [each.ids for each in decoder.decode(rows)]
    for each, ids in zip(rows, together, strict=True):
        assert decoder.decode([each])[0].ids == ids
        first = decoder.decode([row(each.slot, each.pending_ids, limit=2)])[0].ids
        position = len(each.pending_ids) + 1
        rest = Row(each.slot, first[-1:], position, first, each.params, 0.7, limit=each.limit - 2)
        assert first + decoder.decode([rest])[0].ids == ids


def test_an_end_id_ends_its_row_only() -> None:
    plain = TorchDecoder(tiny_model(V), num_slots=8)
    rows = [row(slot, IDS[:5], top_k=0, top_p=1.0) for slot in range(4)]
    free = [each.ids for each in plain.decode(rows)]
    end = free[2][4]
    ended = TorchDecoder(tiny_model(V), num_slots=8, end_ids={end}).decode(rows)
    for ids, each in zip(free, ended, strict=True):
        assert each.ids == (ids[: ids.index(end) + 1] if end in ids else ids)
