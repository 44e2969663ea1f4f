"""The training pass computes what the network's own forward and backward pass compute."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch
from torch import Tensor

from model.config import ModelConfig
from model.native.build import BuildError
from model.network import NeuroQ
from tests.conftest import tiny_config
from train.batches import Batch, collate
from train.forward import TrainingPass
from train.functions import attention, linear_cross_entropy, recurrence
from train.loss import make_loss, reference_loss
from train.native import library
from train.native.library import kernels
from train.noise import NoiseTable

pytestmark = pytest.mark.unit
VOCAB = 100


@pytest.fixture(autouse=True)
def _kernels() -> None:
    try:
        kernels()
    except BuildError as error:
        pytest.skip(f"no training kernels: {error}")


def windows_of(count: int) -> Batch:
    random = np.random.default_rng(0)
    lengths = [[20, 9], [31], [5, 5, 5]] * count
    windows = [[random.integers(5, VOCAB, n + 1) for n in lengths[i]] for i in range(count)]
    return collate(windows, length=32)


def nats_and_gradients(network: NeuroQ, nats: Tensor) -> tuple[float, dict[str, Tensor]]:
    network.zero_grad()
    (nats / 50).backward()
    return nats.item(), {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


def silent_network(**changes: object) -> NeuroQ:
    """A network whose QBNN layers draw no noise: T = |sin 2θ| is zero."""
    torch.manual_seed(0)
    network = NeuroQ(tiny_config(VOCAB, dropout=0.0, **changes)).train()
    for name, parameter in network.named_parameters():
        if name.endswith("theta"):
            parameter.data.zero_()
    return network


@pytest.mark.parametrize(
    "changes", [{}, {"rotary": False}, {"tied": True}, {"num_steps": 1}, {"num_neurons": 13, "num_steps": 3}]
)
def test_loss_and_gradients_are_the_reference_s(changes: dict[str, object]) -> None:
    network, batch = silent_network(**changes), windows_of(3)
    reference = nats_and_gradients(network, reference_loss(network, precision="fp32")(batch))
    ours = nats_and_gradients(network, TrainingPass(network, torch.float32, 0, 96).loss(batch))
    assert ours[0] == pytest.approx(reference[0], rel=1e-5)
    assert ours[1].keys() == reference[1].keys()
    for name, gradient in reference[1].items():
        if not name.endswith("theta"):  # its gradient is of the noise, which differs
            assert torch.allclose(ours[1][name], gradient, rtol=1e-3, atol=1e-5), name


def test_bfloat16_is_near_float32() -> None:
    network, batch = silent_network(), windows_of(3)
    exact = nats_and_gradients(network, TrainingPass(network, torch.float32, 0, 96).loss(batch))
    rough = nats_and_gradients(network, TrainingPass(network, torch.bfloat16, 0, 96).loss(batch))
    assert rough[0] == pytest.approx(exact[0], rel=2e-3)
    for name in ("head.weight", "blocks.0.mlp.0.weight", "blocks.1.qbnn.weight", "token_embedding.weight"):
        difference = (rough[1][name] - exact[1][name]).norm() / exact[1][name].norm()
        assert difference < 0.03, name


def test_theta_learns_from_the_noise() -> None:
    torch.manual_seed(0)
    network = NeuroQ(tiny_config(VOCAB)).train()
    _, gradients = nats_and_gradients(
        network, TrainingPass(network, torch.float32, 0, 96).loss(windows_of(3))
    )
    assert all(gradients[name].abs().sum() > 0 for name in gradients if name.endswith("theta"))


def test_the_recurrence_s_gradient_is_that_of_its_formula() -> None:
    torch.manual_seed(0)
    table = NoiseTable(0, 7 * 5)
    inputs = [torch.randn(*shape) for shape in ((7, 5), (5, 5), (5, 5), (5,))]
    ours, plain = ([tensor.clone().requires_grad_() for tensor in inputs] for _ in range(2))

    torch.manual_seed(1)
    y = recurrence(*ours, 2, table)
    torch.manual_seed(1)
    state, weight, entangle, amplitude = plain
    for _ in range(2):
        u = torch.tanh(state)
        noise = table.draw(state.numel()).float().view_as(state)
        state = torch.tanh(state @ weight + (u @ entangle) * u + amplitude * noise)
    assert torch.allclose(y, state, atol=1e-6)
    direction = torch.randn_like(y)
    y.backward(direction)
    state.backward(direction)
    for mine, expected in zip(ours, plain, strict=True):
        assert mine.grad is not None
        assert expected.grad is not None
        assert torch.allclose(mine.grad, expected.grad, rtol=1e-4, atol=1e-6)


def test_a_step_leaves_no_tensor_behind() -> None:
    network, batch = silent_network(), windows_of(3)
    loss = TrainingPass(network, torch.float32, 0, 96).loss

    def num_tensors() -> int:
        nats_and_gradients(network, loss(batch))
        return sum(issubclass(type(each), Tensor) for each in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        counts = [num_tensors() for _ in range(4)]
    finally:
        gc.enable()
    assert counts[-1] == counts[1]


def test_attention_is_pytorch_s() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(3, 4, 9, 6)
    ours, plain = ([tensor.clone().requires_grad_() for tensor in inputs] for _ in range(2))
    visible = torch.ones(9, 9, dtype=torch.bool).tril().expand(4, -1, -1)
    bias = torch.zeros(4, 9, 9).masked_fill(~visible, float("-inf"))
    y = attention(*ours, bias)
    expected = torch.nn.functional.scaled_dot_product_attention(*plain, attn_mask=visible)
    assert torch.allclose(y, expected, atol=1e-6)
    y.square().sum().backward()
    expected.square().sum().backward()
    assert all(torch.allclose(a.grad, b.grad, atol=1e-5) for a, b in zip(ours, plain, strict=True))


@pytest.mark.parametrize("rows", [3, 1500])  # one chunk, and two
def test_linear_cross_entropy_is_pytorch_s(rows: int) -> None:
    torch.manual_seed(0)
    targets = torch.randint(0, 60, (rows,))
    targets[1] = -100
    inputs = torch.randn(rows, 8), torch.randn(60, 8)
    ours, plain = ([tensor.clone().requires_grad_() for tensor in inputs] for _ in range(2))
    nats = linear_cross_entropy(*ours, targets)
    expected = torch.nn.functional.cross_entropy(plain[0] @ plain[1].T, targets, reduction="sum")
    assert nats.item() == pytest.approx(expected.item(), rel=1e-5)
    (nats / 7).backward()
    (expected / 7).backward()
    assert all(torch.allclose(a.grad, b.grad, rtol=1e-3, atol=1e-4) for a, b in zip(ours, plain, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kernels_hold_at_the_ends_of_their_range(dtype: torch.dtype) -> None:
    x = torch.tensor([-1e4, -20.0, -1e-3, 0.0, 1e-3, 0.5, 20.0, 1e4]).to(dtype)
    y = torch.empty_like(x)
    kernels().call("tanh", x, y, x.numel())
    assert torch.allclose(y.float(), x.float().tanh(), atol=1e-6 if dtype == torch.float32 else 4e-3)
    logits = torch.tensor([[1e4, -1e4, 0.0]]).to(dtype)
    nats = kernels().call("cross_entropy", logits, torch.tensor([1]), 1, 3)
    assert nats == pytest.approx(2e4, rel=0.01)
    assert torch.allclose(logits.float(), torch.tensor([[1.0, -1.0, 0.0]]))


def test_the_table_s_noise_is_normal_and_a_draw_of_the_generator() -> None:
    table = NoiseTable(0, 1000)
    torch.manual_seed(3)
    first, second = table.draw(1000), table.draw(1000)
    torch.manual_seed(3)
    assert torch.equal(table.draw(1000), first)
    assert not torch.equal(first, second)
    everything = table.draw(1 << 19).float()
    assert abs(everything.mean()) < 0.01
    assert everything.std() == pytest.approx(1, abs=0.01)
    assert (everything.abs() > 1.96).float().mean() == pytest.approx(0.05, abs=0.003)


def test_without_a_compiler_the_network_s_own_pass_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> library.Kernels:
        raise BuildError("no C++ compiler was found")

    monkeypatch.setattr("train.loss.kernels", none)
    network, batch = silent_network(), windows_of(2)
    loss = make_loss(network, precision="fp32", seed=0, most_tokens=64)
    assert torch.equal(loss(batch), reference_loss(network, precision="fp32")(batch))


def test_a_seed_size_network_has_a_finite_gradient_everywhere() -> None:
    torch.manual_seed(0)
    network = NeuroQ(ModelConfig(vocab_size=VOCAB, context_length=32)).train()
    loss = make_loss(network, precision="bf16", seed=0, most_tokens=96)
    _, gradients = nats_and_gradients(network, loss(windows_of(3)))
    assert gradients.keys() == {name for name, _ in network.named_parameters()}
    assert all(gradient.isfinite().all() for gradient in gradients.values())
