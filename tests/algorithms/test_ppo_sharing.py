"""An update in fixed pieces: the same as a whole one to float tolerance, and what the two options change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.on_policy import flat_weights, iterate, make_ppo

ENV = {"id": "Pendulum-v1", "n_envs": 4, "max_episode_steps": 20, "normalize": {"obs": True, "reward": True}}
SETTINGS = {"n_steps": 16, "batch_size": 24, "n_epochs": 2, "policy_kwargs": {"net_arch": [8]}, "seed": 5}


@pytest.fixture(autouse=True)
def threads() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def trained(times: int = 1, **settings: Any) -> tuple[np.ndarray, dict[str, float]]:
    ppo = make_ppo(ENV, **{**SETTINGS, **settings})
    metrics = iterate(ppo, times)
    return flat_weights(ppo), metrics


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"target_kl": 1e-4},
        {"normalize_advantage": False, "clip_range_vf": 0.1},
        {"use_sde": True, "ent_coef": 0.01},
    ],
)
def test_an_update_in_pieces_is_the_whole_one_to_float_tolerance(more: dict[str, Any]) -> None:
    (whole, numbers), (pieces, theirs) = trained(**more), trained(deterministic_reduction=True, **more)
    np.testing.assert_allclose(pieces, whole, atol=2e-6)
    assert not np.array_equal(pieces, whole), "the sums are taken in another order"
    for name in (n for n in numbers if n.startswith("train/")):
        assert theirs[name] == pytest.approx(numbers[name], rel=1e-3, abs=1e-5), name


def test_the_number_of_pieces_decides_the_last_bits() -> None:
    weights = [trained(deterministic_reduction=True, reduction_pieces=pieces)[0] for pieces in (1, 2, 4, 4)]
    assert np.array_equal(weights[2], weights[3])
    assert not np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[1], weights[2])
    np.testing.assert_allclose(weights[0], weights[2], atol=2e-6)


def test_without_the_option_pieces_change_nothing() -> None:
    assert np.array_equal(trained()[0], trained(reduction_pieces=2)[0])
