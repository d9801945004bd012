"""Acting in NumPy: the same actions as in torch, from the weights of now, wherever it may."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lit_rl.networks.dense import Dense, layers_of, parameters_of_layers
from lit_rl.networks.flat import Flat
from lit_rl.networks.quick import Quick
from lit_rl.ops.distributions import Bernoulli, Categorical, DiagonalGaussian, MultiCategorical
from tests.algorithms.test_fast import trained
from tests.helpers.on_policy import iterate


def dense(*modules: nn.Module) -> Dense:
    layers = layers_of(modules)
    assert layers is not None
    return Dense([layers], Flat(parameters_of_layers([layers])))


@pytest.mark.parametrize("activation", [nn.Tanh(), nn.ReLU(), nn.Sigmoid()])
@pytest.mark.parametrize("rows", [1, 8])
def test_the_outputs_are_those_of_torch(activation: nn.Module, rows: int) -> None:
    net = dense(nn.Linear(5, 16), activation, nn.Linear(16, 8), activation, nn.Linear(8, 3))
    quick = Quick.of(net, rows)
    assert quick is not None
    x = 200 * torch.randn(rows, 5)  # far enough out for every activation to saturate
    np.testing.assert_allclose(quick(x.numpy()), net.infer(x).numpy(), rtol=1e-5, atol=1e-5)


def test_observations_of_any_shape_and_type_are_flattened() -> None:
    net = dense(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 2))
    quick = Quick.of(net, 3)
    assert quick is not None
    x = np.random.default_rng(0).integers(0, 9, (3, 2, 3), dtype=np.uint8)
    np.testing.assert_allclose(quick(x), net.infer(torch.from_numpy(x).float().flatten(1)).numpy(), atol=1e-5)


def test_what_torch_does_better_is_left_to_it() -> None:
    wide = dense(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 2))
    assert Quick.of(wide, 1) is not None
    assert Quick.of(wide, 2) is None, "OpenBLAS would take several threads"
    assert Quick.of(dense(nn.Linear(5, 8), nn.GELU(), nn.Linear(8, 2)), 1) is None


@pytest.mark.parametrize(
    ("distribution", "width", "kind"),
    [
        (Categorical(4), 4, np.int64),
        (MultiCategorical((2, 3)), 5, np.int64),
        (Bernoulli(3), 3, np.int64),
        (DiagonalGaussian(3), 3, np.float32),
    ],
)
def test_draws_are_samples(distribution: Any, width: int, kind: type) -> None:
    rng = np.random.default_rng(3)
    head = rng.standard_normal((64, width), dtype=np.float32)
    extra = rng.standard_normal(width, dtype=np.float32)
    noise = distribution.noise(rng, 64)
    drawn = distribution.draw(head, extra, noise)
    sampled = distribution.sample(torch.from_numpy(head), torch.from_numpy(extra), None, torch.from_numpy(noise))
    assert drawn.dtype == kind
    np.testing.assert_allclose(drawn, sampled.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", ["PPO", "PPO Box", "A2C Adam", "DQN"])
def test_it_acts_with_the_weights_of_now(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Observations and actions of every call are kept, and torch is asked for the same."""
    module = trained(case, 3)
    net: Any = module.net
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    call = Quick.__call__

    def watched(self: Quick, obs: np.ndarray) -> np.ndarray:
        head = call(self, obs)
        seen.append((head, infer(torch.from_numpy(obs.copy())).numpy()))
        return head

    infer = net.infer if case == "DQN" else lambda obs: net.actor(obs)[0]
    monkeypatch.setattr(Quick, "__call__", watched)
    iterate(module, 3)
    assert seen
    for ours, theirs in seen:
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("settings", [{"fast": False}, {"deterministic_reduction": True, "reduction_pieces": 2}])
def test_other_ways_act_in_torch(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Quick, "__call__", lambda self, obs: pytest.fail("acted in NumPy"))
    trained("PPO", 1, **settings)
