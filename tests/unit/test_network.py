from __future__ import annotations

import pytest
import torch

from model.cache import KeyValueCache
from model.config import ModelConfig
from model.network import NeuroQ
from model.qbnn import QBNN
from tests.conftest import tiny_config, tiny_model

pytestmark = pytest.mark.unit


def test_seed_size_has_about_three_million_parameters() -> None:
    assert 2.8e6 < NeuroQ(ModelConfig()).num_parameters < 3.3e6


def test_cache_is_exact_for_every_position() -> None:
    torch.manual_seed(0)
    model = NeuroQ(ModelConfig()).eval()  # the seed size, over its whole context
    ids = torch.randint(0, 8000, (1, 256))
    with torch.inference_mode():
        whole = model(ids)
        rows = KeyValueCache(model.config, 1).rows(torch.tensor([0]))
        prefix = model(ids[:, :10], torch.arange(10)[None], cache=rows)
        steps = [model(ids[:, i : i + 1], torch.tensor([[i]]), cache=rows) for i in range(10, 256)]
    assert (torch.cat([prefix, *steps], dim=1) - whole).abs().max() < 1e-4


def test_a_token_never_sees_a_later_one() -> None:
    model = tiny_model(100)
    ids = torch.randint(0, 100, (1, 20))
    changed = ids.clone()
    changed[0, 12] = (changed[0, 12] + 1) % 100
    with torch.inference_mode():
        before, after = model(ids), model(changed)
    assert torch.equal(before[:, :12], after[:, :12])
    assert not torch.equal(before[:, 12:], after[:, 12:])


def test_gradients_reach_every_parameter_of_the_qbnn_layers() -> None:
    torch.manual_seed(0)
    model = NeuroQ(tiny_config(100)).train()
    model(torch.randint(0, 100, (2, 16))).logsumexp(-1).sum().backward()
    layers = [module for module in model.modules() if isinstance(module, QBNN)]
    assert len(layers) == 4  # attention and feed-forward, in each of two blocks
    for layer in layers:
        for name in ("theta", "weight", "entangle", "entanglement"):
            gradient = getattr(layer, name).grad
            assert gradient is not None, name
            assert gradient.abs().sum() > 0, name
        assert torch.all(layer.weight.grad[~layer.mask] == 0)


def test_qbnn_layer_computes_its_formula() -> None:
    torch.manual_seed(1)
    layer = QBNN(6, 5, density=0.5, entanglement=0.3, num_steps=2).eval()
    x = torch.randn(3, 6)
    state = x @ layer.project_in.weight.T + layer.project_in.bias
    for _ in range(2):
        u = torch.tanh(state)
        drive = state @ (layer.weight * layer.mask) + 0.3 * (u @ (layer.entangle * layer.mask)) * u
        state = torch.tanh(drive)
    expected = state @ layer.project_out.weight.T + layer.project_out.bias
    assert torch.allclose(layer(x), expected, atol=1e-6)


def test_qbnn_mask_is_sparse_without_diagonal() -> None:
    torch.manual_seed(0)
    mask = QBNN(8, 200, density=0.25, entanglement=0.35, num_steps=2).mask
    assert not mask.diagonal().any()
    assert mask.float().mean().item() == pytest.approx(0.25, abs=0.02)


def test_noise_is_drawn_in_training_only() -> None:
    model, ids = tiny_model(100, dropout=0.0), torch.randint(0, 100, (1, 8))
    assert torch.equal(model(ids), model(ids))
    model.train()
    assert not torch.equal(model(ids), model(ids))


def test_freezing_changes_no_logit() -> None:
    model, ids = tiny_model(100), torch.randint(0, 100, (1, 8))
    with torch.inference_mode():
        before = model(ids)
        assert torch.allclose(model.freeze()(ids), before, atol=1e-5)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_quantum_temperature_stays_between_its_bounds() -> None:
    model = tiny_model(100)
    assert 0.4 <= model.quantum_temperature(0.4, 0.6) <= 0.6
    assert model.quantum_temperature(0.5, 0.5) == pytest.approx(0.5)
    for block in model.blocks:
        block.qbnn.theta.data.fill_(0.0)  # r = 1, clamped to 0.707
    assert model.quantum_temperature(0.4, 0.6) == pytest.approx(0.6)
    assert model.quantum_fluctuation() == pytest.approx(0.707)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": 0}, "vocab_size must be between 8 and 1000000, got 0"),
        ({"embed_dim": 30}, "embed_dim must be a multiple of num_heads"),
        ({"dropout": 1.5}, "dropout must be between"),
        ({"num_layers": "3"}, "num_layers must be an integer"),
    ],
)
def test_configuration_names_the_field_and_the_range(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig(**change)  # type: ignore[arg-type]


def test_configuration_refuses_unknown_names() -> None:
    with pytest.raises(ValueError, match="unknown configuration: colour"):
        ModelConfig.from_dict({"colour": 1})
