"""Networks that begin anew in mid-run: what is made anew, with which weights, when, and what stays."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from lit_rl import DDPG, DQN, SAC, TD3
from lit_rl.algorithms.resets import ParamResets
from lit_rl.errors import ConfigError
from lit_rl.ops.streams import generator
from lit_rl.state.plain import first_difference
from tests.helpers import envs
from tests.helpers.on_policy import iterate, make, weights

SETTINGS = {"learning_rate": "lin_1e-2", "batch_size": 8, "buffer_size": 90, "learning_starts": 10, "seed": 3,
            "total_timesteps": 200, "train_freq": 2, "cycles_per_iteration": 1, "policy_kwargs": {"net_arch": [8]},
            "param_resets": [40, 61]}  # fmt: skip
CASES: dict[str, tuple[type, str, dict[str, Any]]] = {
    "DQN": (DQN, "Noisy", {"target_update_interval": 10}),
    "DQN, dueling": (DQN, "Noisy", {"target_update_interval": 10, "dueling": True}),
    "SAC": (SAC, "NoisyBox", {"ent_coef": "auto_0.5"}),
    "SAC, fixed": (SAC, "NoisyBox", {"ent_coef": 0.2}),
    "SAC, gSDE": (SAC, "NoisyBox", {"use_sde": True}),
    "SAC, shared": (SAC, "NoisyBoxDict", {"policy": "MultiInputPolicy",
                                          "policy_kwargs": {"net_arch": [8], "share_features_extractor": True}}),
    "SAC, Adagrad": (SAC, "NoisyBox", {"policy_kwargs": {"optimizer_class": torch.optim.Adagrad}}),
    "TD3": (TD3, "NoisyBox", {}),
    "DDPG": (DDPG, "NoisyBox", {}),
}  # fmt: skip


def ours_of(case: str, **over: Any) -> Any:
    cls, env, settings = CASES[case]
    where = {"class_path": envs.PATH + env, "n_envs": 1, "max_episode_steps": 9}
    return make(cls, where, **{**SETTINGS, **settings, **over})


def optimizers(ours: Any) -> list[dict[str, Any]]:
    return [copy.deepcopy(each.state_dict()["state"]) for each in ours.optimizers_now()]


class Learned(Exception):
    """Raised in the place of learning."""


def stop_at_learning(ours: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def learn(steps: int) -> dict[str, float]:
        raise Learned

    monkeypatch.setattr(ours, "learn", learn)


@pytest.mark.parametrize("case", CASES)
def test_everything_but_the_replay_begins_anew(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = ours_of(case)
    at_start, fresh = weights(ours), optimizers(ours)
    iterate(ours, 19)
    assert ours.counters.timesteps == 38
    trained, updates = weights(ours), ours.counters.updates
    assert first_difference(fresh, optimizers(ours), "optimizers") is not None
    with monkeypatch.context() as patch:
        stop_at_learning(ours, patch)
        with pytest.raises(Learned):
            iterate(ours)
    now = weights(ours)
    assert first_difference(fresh, optimizers(ours), "optimizers") is None
    with torch.random.fork_rng():
        torch.manual_seed(int(generator(3, "reset_weights", 1).integers(2**63)))
        wanted = ours.make_networks(ours.observation_space, ours.action_space).state_dict()
    for name, tensor in wanted.items():
        assert torch.equal(now[f"policy.{name}"], tensor), name
    moved = [name for name, tensor in trained.items() if not torch.equal(tensor, at_start[name])]
    assert len(moved) > 3
    assert not [name for name in moved if torch.equal(now[name], trained[name])]
    if case.startswith("SAC") and ours.log_ent_coef is not None:
        assert torch.equal(now["log_ent_coef"], at_start["log_ent_coef"])
    assert ours.counters.updates == updates
    assert (len(ours.replay), ours.replay.end) == (40, 40)


def test_it_acts_and_learns_with_the_new_weights() -> None:
    """What acts and what is optimised are the tensors that were there."""
    for case in CASES:
        ours = ours_of(case)
        before = {name: tensor.data_ptr() for name, tensor in ours.state_dict().items()}
        iterate(ours, 20)
        assert {name: tensor.data_ptr() for name, tensor in ours.state_dict().items()} == before
        first = weights(ours.policy)
        iterate(ours, 5)
        assert any(not torch.equal(tensor, first[name]) for name, tensor in ours.policy.state_dict().items())


def test_each_has_weights_of_its_own_and_schedules_go_on() -> None:
    ours = ours_of("DQN", gradient_steps=1, learning_rate="lin_1e-9")  # weights stay nearly what they were made
    seen, rates, done = [], [], []
    for _ in range(35):
        metrics = iterate(ours)
        seen.append(weights(ours.policy)["q_net.q_net.0.weight"])
        rates.append(metrics.get("train/learning_rate", 0.0))
        done.append(metrics.get("train/param_resets", 0))
    jumps = [i for i in range(1, 35) if float((seen[i] - seen[i - 1]).abs().max()) > 1e-3]
    assert [2 * (i + 1) for i in jumps] == [40, 62]  # 61 falls within a cycle
    assert done[18:21] == [0, 1, 1]
    assert done[-1] == 2
    assert not torch.equal(seen[jumps[0]], seen[jumps[1]])
    assert rates[jumps[1]] == pytest.approx(1e-9 * (1 - 62 / 200))


def test_before_learning_starts_and_several_at_once_are_one_at_the_first_update() -> None:
    ours = ours_of("TD3", param_resets=[3, 7, 9, 100])
    assert "train/param_resets" not in iterate(ours, 5)
    assert iterate(ours)["train/param_resets"] == 3
    assert iterate(ours)["train/param_resets"] == 3


def test_without_any_nothing_is_logged_and_nothing_is_drawn() -> None:
    plain, none, far = (ours_of("DQN", param_resets=given) for given in (None, [], [199]))
    for ours in (plain, none):
        assert "train/param_resets" not in iterate(ours, 30)
    iterate(far, 30)
    for ours in (none, far):
        assert first_difference(weights(plain), weights(ours), "weights") is None


def test_what_is_looked_for_lies_after_the_last_look() -> None:
    """So that a list that is changed at a resume never does again what lies behind."""
    first = ParamResets([10, 20], 100)
    assert [first.due(t) for t in (5, 12, 18)] == [False, True, False]
    second = ParamResets([4, 17, 30, 31], 100)
    second.load_state_dict(first.state_dict())
    assert [second.due(t) for t in (20, 29, 30, 40)] == [False, False, True, True]
    assert second.done == 3


@pytest.mark.parametrize(("given", "said"), [
    ([40, 40], "model.param_resets: 40 comes after 40; give increasing timesteps."),
    ([40, 30], "model.param_resets: 30 comes after 40; give increasing timesteps."),
    ([0, 30], "model.param_resets[0] is 0; it must be at least 1."),
    ([40, 200], "model.param_resets: 200 is not below total_timesteps: 200; remove it or train longer."),
    ([40.5], "model.param_resets[0]: expected a whole number, got 40.5."),
    (40, "model.param_resets: expected a list, or null, got 40."),
])  # fmt: skip
@pytest.mark.parametrize("case", ["DQN", "SAC", "TD3", "DDPG"])
def test_mistakes_name_the_setting(case: str, given: Any, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        ours_of(case, param_resets=given)
    assert str(error.value) == said
