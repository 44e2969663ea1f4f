from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from model.config import ModelConfig
from model.decoder import Decoded, Decoder, Row
from model.native import build, decoder, library
from model.native.decoder import PRECISIONS, NativeDecoder
from model.network import NeuroQ
from model.sampling import SamplingParams, TokenLogprobs
from model.torch_decoder import TorchDecoder

pytestmark = pytest.mark.unit

ISAS = ("avx512bf16", "avx512", "avx2", "portable")
# Largest relative error of the logits (Frobenius) against PyTorch's.
TOLERANCE = {"float32": 2e-6, "bfloat16": 0.02, "int8": 0.05}
SHAPES = {
    "padded": ModelConfig(211, embed_dim=40, num_heads=2, num_layers=2, num_neurons=19, context_length=70),
    "odd": ModelConfig(77, embed_dim=15, num_heads=3, num_layers=1, num_neurons=7, num_steps=3, rotary=False),
    "wide": ModelConfig(
        2051, embed_dim=64, num_heads=1, num_layers=1, num_neurons=32, context_length=40, tied=True
    ),
    "least": ModelConfig(8, 1, num_heads=1, num_layers=1, num_neurons=1, context_length=2, rotary=False),
}
SMALL = SHAPES["padded"]


@pytest.fixture
def built(native_library: Path | None) -> Path:
    if native_library is None:
        pytest.skip("this machine has no C++ compiler")
    return native_library


@pytest.fixture(params=ISAS)
def isa(
    request: pytest.FixtureRequest, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A copy of the library of its own: it picks the instruction set when it is first asked."""
    copy = tmp_path / f"{request.param}.so"
    shutil.copy(built, copy)
    monkeypatch.setenv("NEUROQ_NATIVE_ISA", request.param)
    monkeypatch.setattr(build, "library_path", lambda: copy)
    library.load.cache_clear()
    if decoder.isa() != request.param:
        pytest.skip(f"this processor has no {request.param}")
    yield request.param
    library.load.cache_clear()


@pytest.fixture
def native(built: Path) -> None:
    library.load.cache_clear()


def network_of(config: ModelConfig, seed: int = 0) -> NeuroQ:
    """Random weights, none of them where initialisation would leave a zero or a one."""
    torch.manual_seed(seed)
    network = NeuroQ(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return network.freeze()


def prompt(length: int, seed: int = 0, vocab_size: int = SMALL.vocab_size) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(vocab_size, (length,), generator=generator).tolist()


def row_of(slot: int, ids: list[int], limit: int, temperature: float = 0.7, **params: object) -> Row:
    return Row(slot, ids, 0, [], SamplingParams(**params), temperature, limit)  # type: ignore[arg-type]


def after(row: Row, decoded: Decoded, limit: int) -> Row:
    """The row that goes on where a call left off."""
    return dataclasses.replace(
        row,
        pending_ids=decoded.ids[-1:],
        position=row.position + len(row.pending_ids) + len(decoded.ids) - 1,
        output_ids=row.output_ids + decoded.ids,
        limit=limit,
    )


def everything(decoded: Decoded) -> list[tuple[int, TokenLogprobs]]:
    assert decoded.logprobs is not None
    return list(zip(decoded.ids, decoded.logprobs, strict=True))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_are_the_networks(isa: str, precision: str, shape: str) -> None:
    config = SHAPES[shape]
    network = network_of(config)
    ids = prompt(config.context_length, vocab_size=config.vocab_size)
    expected = network(torch.tensor([ids]))[0]
    logits = NativeDecoder(network, num_slots=1, precision=precision).logits(ids)
    assert logits.shape == expected.shape
    assert (logits - expected).norm() <= TOLERANCE[precision] * expected.norm() + 1e-6


@pytest.mark.parametrize("precision", PRECISIONS)
def test_logits_at_the_default_size(native: None, precision: str) -> None:
    network = network_of(ModelConfig())
    ids = prompt(50, vocab_size=8000)
    expected = network(torch.tensor([ids]))[0]
    logits = NativeDecoder(network, num_slots=1, precision=precision).logits(ids)
    assert (logits - expected).norm() <= TOLERANCE[precision] * expected.norm()


def test_ids_are_those_of_the_reference(isa: str) -> None:
    network = network_of(SMALL)
    mixed = (
        {"temperature": 0.0},
        {"temperature": 0.0, "repetition_penalty": 1.0, "quantum_noise": True},
        {"temperature": 1.5, "top_k": 1},
        {"top_k": 0, "top_p": 1.0, "temperature": 1.0},
        {"top_k": 5, "top_p": 0.5, "logprobs": 3},
        {"top_k": 100, "seed": -3, "logprobs": 0},
        {"quantum_noise": True, "seed": 2**40},
        {"top_k": 1000, "top_p": 0.99, "repetition_penalty": 2.0},
    )
    rows = [row_of(i, prompt(3 + i, i), 40, **each) for i, each in enumerate(mixed)]  # type: ignore[arg-type]
    reference = TorchDecoder(network, num_slots=8).decode(rows)
    decoded = NativeDecoder(network, num_slots=8).decode(rows)
    assert [each.ids for each in decoded] == [each.ids for each in reference]
    for own, expected in zip(decoded, reference, strict=True):
        for a, b in zip(own.logprobs or [], expected.logprobs or [], strict=True):
            assert a.logprob == pytest.approx(b.logprob, abs=1e-5)
            assert [id for id, _ in a.top] == [id for id, _ in b.top]
            assert [value for _, value in a.top] == pytest.approx([value for _, value in b.top], abs=1e-5)


def test_sampling_over_a_large_vocabulary_is_the_references(native: None) -> None:
    network = network_of(ModelConfig(embed_dim=32, num_layers=1, num_neurons=10))
    rows = [
        row_of(i, [i], 60, temperature=0.3 + 0.2 * i, top_k=k)
        for i, k in enumerate((2, 17, 40, 64, 65, 2000))
    ]
    reference = TorchDecoder(network, num_slots=6).decode(rows)
    assert NativeDecoder(network, num_slots=6).decode(rows) == reference


@pytest.mark.parametrize("spread", [0.02, 1.0, 30.0])
def test_looking_at_few_logits_gives_what_all_of_them_give(isa: str, spread: float) -> None:
    """Log probabilities need every logit; without them a float32 head computes only what may be drawn."""
    network = network_of(ModelConfig(1200, embed_dim=24, num_heads=2, num_layers=1, num_neurons=9))
    with torch.no_grad():
        network.head.weight.mul_(spread)
        network.head.weight[::97].mul_(20.0)  # some outputs far coarser than others
        network.head.weight[5::50] = network.head.weight[4::50]  # equals: the lower id wins
    params = (
        {"temperature": 0.0},
        {"temperature": 0.0, "repetition_penalty": 1.0},
        {"top_k": 1},
        {"top_k": 40},
        {"top_k": 64, "repetition_penalty": 0.3},
        {"top_k": 40, "repetition_penalty": 8.0, "temperature": 2.0},
    )
    rows = [row_of(i, [i, 5], 60, seed=i, **each) for i, each in enumerate(params)]  # type: ignore[arg-type]
    few = NativeDecoder(network, num_slots=len(rows)).decode(rows)
    told = [dataclasses.replace(row, params=dataclasses.replace(row.params, logprobs=0)) for row in rows]
    all_of_them = NativeDecoder(network, num_slots=len(rows)).decode(told)
    assert [each.ids for each in few] == [each.ids for each in all_of_them]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_row_does_not_depend_on_its_neighbours(isa: str, precision: str) -> None:
    """Bit for bit: alone, among any number of others, in one call or many, on any number of threads."""
    network = network_of(SMALL)
    rows = [row_of(i, prompt(1 + i, i), 20 + i, logprobs=SMALL.vocab_size, seed=i) for i in range(21)]
    alone = NativeDecoder(network, num_slots=1, precision=precision)
    expected = [alone.decode([dataclasses.replace(row, slot=0)])[0] for row in rows]
    for threads in (1, 3):
        together = NativeDecoder(network, num_slots=21, precision=precision, threads=threads)
        assert together.decode(rows) == expected
        assert together.decode(rows[::-2]) == expected[::-2]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_row_does_not_depend_on_how_it_was_split(isa: str, precision: str) -> None:
    network = network_of(SMALL)
    native_decoder = NativeDecoder(network, num_slots=2, precision=precision)
    whole = row_of(0, prompt(20), 30, logprobs=SMALL.vocab_size)
    expected = everything(native_decoder.decode([whole])[0])

    row, got = dataclasses.replace(whole, slot=1, limit=1), []
    for limit in (4, 1, 7, 2, 15, 0):
        decoded = native_decoder.decode([row])[0]
        got += everything(decoded)
        row = after(row, decoded, limit)
    assert got == expected

    # What was generated, taken in as a prompt, and a prefix of it that the slot holds already.
    ids = whole.pending_ids + [id for id, _ in expected]
    for start in (0, 13, 31):
        again = Row(0, ids[start:45], start, ids[20:45], whole.params, 0.7, 5)
        assert everything(native_decoder.decode([again])[0]) == expected[25:]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_a_slot_held_does_not_matter(isa: str, precision: str) -> None:
    fresh, used = (NativeDecoder(network_of(SMALL), num_slots=1, precision=precision) for _ in range(2))
    used.decode([row_of(0, prompt(40, 1), 30)])
    row = row_of(0, prompt(9), 20, logprobs=5)
    assert used.decode([row]) == fresh.decode([row])


def test_an_end_id_is_the_last(native: None) -> None:
    network = network_of(SMALL)
    row = row_of(0, prompt(5), 40)
    ids = NativeDecoder(network, num_slots=1).decode([row])[0].ids
    ended = NativeDecoder(network, num_slots=1, end_ids=[ids[7], 3]).decode([row])[0].ids
    assert ended == ids[: min(ids.index(end) for end in (ids[7], 3) if end in ids) + 1]


def test_no_rows_and_no_ids(native: None) -> None:
    idle: Decoder = NativeDecoder(network_of(SMALL), num_slots=1)
    assert idle.decode([]) == []
    assert idle.logits([]).shape == (0, SMALL.vocab_size)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"slot": 2}, "slot"),
        ({"slot": -1}, "slot"),
        ({"position": -1}, "position"),
        ({"position": 70}, "position"),
        ({"pending_ids": []}, "pending_ids"),
        ({"pending_ids": [0] * 71}, "pending_ids"),
        ({"pending_ids": [211]}, "pending_ids"),
        ({"pending_ids": [-1]}, "pending_ids"),
        ({"pending_ids": [2**32]}, "pending_ids"),
        ({"output_ids": [211]}, "output_ids"),
        ({"limit": 0}, "limit"),
        ({"limit": 67}, "limit"),
        ({"temperature": float("nan")}, "temperature"),
        ({"params": SamplingParams(top_k=-1)}, "top_k"),
        ({"params": SamplingParams(logprobs=-1)}, "logprobs"),
        ({"params": SamplingParams(repetition_penalty=-1.0)}, "repetition_penalty"),
    ],
)
def test_a_field_out_of_range_is_named(native: None, change: dict[str, object], field: str) -> None:
    native_decoder = NativeDecoder(network_of(SMALL), num_slots=2)
    row = dataclasses.replace(row_of(0, prompt(5), 66), **change)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=field):
        native_decoder.decode([row])


def test_one_slot_in_two_rows_is_refused(native: None) -> None:
    native_decoder = NativeDecoder(network_of(SMALL), num_slots=2)
    with pytest.raises(ValueError, match="slot"):
        native_decoder.decode([row_of(0, [1], 1), row_of(0, [2], 1)])


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"num_slots": 0}, "num_slots"),
        ({"threads": 0}, "threads"),
        ({"precision": "float16"}, "precision"),
        ({"end_ids": [211]}, "end_ids"),
    ],
)
def test_a_setting_out_of_range_is_named(native: None, settings: dict[str, object], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        NativeDecoder(network_of(SMALL), **{"num_slots": 1, **settings})  # type: ignore[arg-type]


def test_weights_that_are_not_numbers_do_no_harm(isa: str) -> None:
    network = network_of(SMALL)
    with torch.no_grad():
        network.norm.weight.fill_(float("nan"))
    for precision in PRECISIONS:
        rows = [row_of(0, [1], 5), row_of(1, [1], 5, temperature=0.0), row_of(2, [1], 5, top_k=0, logprobs=3)]
        decoded = NativeDecoder(network, num_slots=3, precision=precision).decode(rows)
        assert all(0 <= id < SMALL.vocab_size for each in decoded for id in each.ids)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads as Linux does")
def test_threads_end_with_the_decoder(native: None) -> None:
    def num_threads() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    before = num_threads()
    native_decoder = NativeDecoder(network_of(SMALL), num_slots=4, threads=4)
    native_decoder.decode([row_of(i, [1], 2) for i in range(4)])
    assert num_threads() == before + 3
    del native_decoder
    assert num_threads() == before
