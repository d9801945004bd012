"""A loss or gradient that is not finite: the minibatch is skipped and counted; too many in a row end the run."""

import math

import pytest
import torch

from lit_rl.algorithms.ppo import PPO
from lit_rl.errors import Diverged
from lit_rl.state.records import Counters
from tests.helpers import envs
from tests.helpers.on_policy import iterate, make_ppo, weights

ENV = {"class_path": envs.PATH + "NoisyBox", "n_envs": 2, "max_episode_steps": 9}
SETTINGS = {"n_steps": 16, "batch_size": 8, "n_epochs": 2, "policy_kwargs": {"net_arch": [8]}}
MINIBATCHES = 8
"""Of one update."""


def spoil(monkeypatch, bad, value=math.nan):
    """Make the loss of the minibatches whose numbers are in `bad` `value`; returns the list of those computed."""
    loss_of, computed = PPO._loss, []

    def spoilt(self, piece, **clipping):
        slope, stats = loss_of(self, piece, **clipping)
        if len(computed) in bad:
            slope = slope.times(value)
            stats.losses[-1] = stats.losses[-1] * value
        computed.append(stats.whole)
        return slope, stats

    monkeypatch.setattr(PPO, "_loss", spoilt)
    return computed


def state(ppo):
    optimizer = ppo.optimizers().state_dict()["state"]
    return {**weights(ppo.policy), **{f"{i} {k}": v.clone() for i, s in optimizer.items() for k, v in s.items()}}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_bad_minibatch_is_skipped_and_counted(monkeypatch, value):
    ppo = make_ppo(ENV, **SETTINGS)
    iterate(ppo)
    states = []
    step = ppo.optimizers().step
    ppo.optimizers().step = lambda: (step(), states.append(state(ppo)))
    computed = spoil(monkeypatch, {2, 3}, value)
    metrics = iterate(ppo)
    assert len(computed) == MINIBATCHES
    assert len(states) == MINIBATCHES - 2
    assert equal(states[-1], state(ppo))
    assert (ppo.counters.bad_updates, ppo.counters.bad_updates_in_a_row) == (2, 0)
    assert ppo.counters.gradient_steps == 2 * MINIBATCHES - 2
    assert ppo.counters.updates == 4
    assert metrics["train/bad_updates"] == 2
    assert all(math.isfinite(metrics[key]) for key in metrics if key.startswith("train/"))
    assert all(torch.isfinite(tensor).all() for tensor in state(ppo).values())


def test_an_update_without_a_good_minibatch_changes_nothing_and_can_be_logged(monkeypatch):
    ppo = make_ppo(ENV, **SETTINGS)
    iterate(ppo)
    before = state(ppo)
    spoil(monkeypatch, range(MINIBATCHES))
    metrics = iterate(ppo)
    assert equal(before, state(ppo))
    assert metrics["train/bad_updates"] == MINIBATCHES
    for name in ("loss", "value_loss", "policy_gradient_loss", "entropy_loss", "approx_kl", "clip_fraction"):
        assert math.isnan(metrics[f"train/{name}"])


def test_a_bad_gradient_under_a_good_loss_is_skipped_too(monkeypatch):
    ppo = make_ppo(ENV, **SETTINGS, fast=False)
    ppo.policy.value_net.bias.register_hook(lambda gradient: gradient * math.nan)
    before = state(ppo)
    iterate(ppo)
    assert ppo.counters.bad_updates == MINIBATCHES
    assert equal(before, state(ppo))


def test_a_bad_gradient_by_hand_is_skipped_too(monkeypatch):
    ppo = make_ppo(ENV, **SETTINGS)
    backward = ppo.net.backward
    monkeypatch.setattr(
        ppo.net, "backward", lambda slope: (backward(slope), ppo.net.flat.gradient[3:4].fill_(math.nan))
    )
    before = state(ppo)
    iterate(ppo)
    assert ppo.counters.bad_updates == MINIBATCHES
    assert equal(before, state(ppo))


def test_too_many_in_a_row_end_the_run(monkeypatch):
    ppo = make_ppo(ENV, **SETTINGS, max_bad_updates=3)
    computed = spoil(monkeypatch, {1, 2, 4, 5, 6})  # the good one between begins the count anew
    with pytest.raises(Diverged, match=r"3 minibatches in a row .*model\.learning_rate") as caught:
        iterate(ppo)
    assert len(computed) == 7
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1


def test_the_counts_are_state():
    """Two bad ones before a stop and one after it are three in a row."""
    counters = Counters(bad_updates=5, bad_updates_in_a_row=2)
    ppo = make_ppo(ENV, **SETTINGS, max_bad_updates=3, fast=False)
    ppo.counters.load_state_dict(counters.state_dict())
    ppo.policy.value_net.bias.register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(Diverged):
        iterate(ppo)
    assert (ppo.counters.bad_updates, ppo.counters.bad_updates_in_a_row) == (6, 3)


def test_a_checkpoint_from_before_there_were_counts_can_be_loaded():
    old = {"timesteps": 8, "iterations": 1, "episodes": 2, "updates": 3, "gradient_steps": 4}
    counters = Counters()
    counters.load_state_dict(old)
    assert counters == Counters(**old)


def test_a_run_without_bad_minibatches_does_not_show_them():
    assert "train/bad_updates" not in iterate(make_ppo(ENV, **SETTINGS))
