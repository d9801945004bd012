"""An update equals stable-baselines3's `train`: the same weights, batches and noise, in every setting with a branch."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import stable_baselines3
import torch

from lit_rl import DDPG, DQN, SAC, TD3
from lit_rl.errors import ConfigError, Diverged
from tests.helpers import envs
from tests.helpers.off_policy import assert_equal_updates, play, twin_of
from tests.helpers.on_policy import make, weights

SMALL = {"net_arch": [16, 16]}
SETTINGS = {"learning_rate": 3e-2, "batch_size": 16, "buffer_size": 90, "learning_starts": 0, "seed": 3,
            "total_timesteps": 1000, "policy_kwargs": SMALL}  # fmt: skip
SHARED = {**SMALL, "share_features_extractor": True}
DICT = {"policy": "MultiInputPolicy", "learning_rate": 1e-3}
CASES: dict[str, tuple[type, str, dict[str, Any]]] = {
    "DQN": (DQN, "Noisy", {"target_update_interval": 10}),
    "DQN of windows": (DQN, "Noisy", {"n_steps": 3, "gamma": 0.9}),
    "DQN, tight clip": (DQN, "Noisy", {"max_grad_norm": 0.01}),
    "DQN, soft target": (DQN, "Noisy", {"tau": 0.3, "target_update_interval": 6}),
    "DQN, schedule": (DQN, "Noisy", {"learning_rate": "lin_3e-2"}),
    "SAC": (SAC, "NoisyBox", {}),
    "SAC, started at 0.1": (SAC, "NoisyBox", {"ent_coef": "auto_0.1", "target_entropy": -0.3}),
    "SAC, fixed": (SAC, "NoisyBox", {"ent_coef": 0.2}),
    "SAC of windows": (SAC, "NoisyBox", {"n_steps": 3}),
    "SAC, Dict": (SAC, "NoisyBoxDict", {**DICT}),
    "SAC, three critics": (SAC, "NoisyBox", {"policy_kwargs": {**SMALL, "n_critics": 3}}),
    "SAC, shared extractor": (SAC, "NoisyBoxDict", {**DICT, "policy_kwargs": SHARED}),
    "SAC, rare targets": (SAC, "NoisyBox", {"target_update_interval": 3, "target_update_per_call": True}),
    "SAC, schedule": (SAC, "NoisyBox", {"learning_rate": "lin_3e-2"}),
    "SAC, gSDE": (SAC, "NoisyBox", {"use_sde": True, "learning_rate": 1e-2}),
    "SAC, gSDE expln": (SAC, "NoisyBox", {"use_sde": True, "policy_kwargs": {**SMALL, "use_expln": True}}),
    "TD3": (TD3, "NoisyBox", {}),
    "TD3, every time": (TD3, "NoisyBox", {"policy_delay": 1, "target_policy_noise": 1.0, "target_noise_clip": 0.1}),
    "TD3 of windows": (TD3, "NoisyBox", {"n_steps": 2, "policy_delay": 3}),
    "TD3, Dict": (TD3, "NoisyBoxDict", {**DICT}),
    "TD3, one critic": (TD3, "NoisyBox", {"policy_kwargs": {**SMALL, "n_critics": 1}}),
    "DDPG": (DDPG, "NoisyBox", {}),
    "SAC, hindsight": (SAC, "Reach", {**DICT, "her": True}),
    "TD3, hindsight": (TD3, "Reach", {**DICT, "her": {"goal_selection_strategy": "episode"}}),
}  # fmt: skip


def ours_of(case: str, **more: Any) -> Any:
    cls, env, settings = CASES[case]
    return make(
        cls, {"class_path": envs.PATH + env, "n_envs": 3, "max_episode_steps": 9}, **{**SETTINGS, **settings, **more}
    )


@pytest.mark.parametrize("case", CASES)
def test_an_update_equals_sb3s(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = ours_of(case)
    assert_equal_updates(ours, twin_of(ours, CASES[case][2].get("policy", "MlpPolicy")), monkeypatch)


@pytest.mark.parametrize("cls", [DQN, SAC, TD3, DDPG])
def test_settings_and_defaults_are_sb3s(cls: type) -> None:
    theirs = inspect.signature(getattr(stable_baselines3, cls.__name__).__init__).parameters
    ours = inspect.signature(cls.__init__).parameters  # type: ignore[misc]
    not_ours = {"self", "env", "policy", "replay_buffer_class", "replay_buffer_kwargs", "optimize_memory_usage",
                "action_noise", "stats_window_size", "tensorboard_log", "verbose", "device", "_init_setup_model",
                "seed"}  # fmt: skip
    assert {*theirs} - not_ours <= {*ours}
    for name in {*theirs} - not_ours - {"policy_kwargs"}:
        assert ours[name].default == theirs[name].default, name


def test_a_target_is_updated_by_gradient_steps_of_the_run() -> None:
    """Not by those of one call, of which each has one here (SB3 issue 2158)."""
    ours = ours_of("SAC", target_update_interval=3)
    play(ours, 5)
    seen = []
    for _ in range(7):
        before = weights(ours.policy.critic_target)
        ours.learn(1)
        seen.append(any(not torch.equal(t, before[name]) for name, t in ours.policy.critic_target.state_dict().items()))
    assert seen == [True, False, False, True, False, False, True]


def test_double_q_values_the_networks_own_choice() -> None:
    """van Hasselt et al. 2016, equation 4, worked out by hand."""
    ours = ours_of("DQN", double_q=True)
    play(ours, 6)
    for parameter in ours.policy.q_net_target.parameters():
        torch.nn.init.normal_(parameter)
    batch, q, q_target = next(ours.batches(1)), ours.policy.q_net, ours.policy.q_net_target
    with torch.no_grad():
        wanted = [
            r + d * q_target(s[None])[0, q(s[None])[0].argmax()]
            for r, d, s in zip(batch.reward, batch.discount, batch.next_obs, strict=True)
        ]
        value = [q(s[None])[0, a] for s, a in zip(batch.obs, batch.action, strict=True)]
        loss = torch.nn.functional.smooth_l1_loss(torch.stack(value), torch.stack(wanted))
    assert ours.learn(1)["train/loss"] == pytest.approx(float(loss), rel=1e-5)


PRIORITIZED = {"alpha": 0.6, "beta": 0.5, "epsilon": 0.01}


def critics_of(ours: Any, batch: Any) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Values [B] of each critic and their target [B], worked out from the papers' equations."""
    policy = ours.policy
    reward, discount = batch.reward, batch.discount
    if isinstance(ours, DQN):
        target = reward + discount * policy.q_net_target(batch.next_obs).max(dim=1).values
        return [policy.q_net(batch.obs)[range(len(reward)), batch.action.long()]], target
    noise = torch.tensor(ours.noises[ours.counters.updates])
    if isinstance(ours, SAC):
        action, log_prob = ours.actor.infer(batch.next_obs, noise[1])
        log_prob = log_prob * ours.log_ent_coef.exp()
    else:
        noise = (noise * ours.target_policy_noise).clamp(-ours.target_noise_clip, ours.target_noise_clip)
        action, log_prob = (policy.actor_target(batch.next_obs) + noise).clamp(-1, 1), 0.0
    lowest = torch.cat(policy.critic_target(batch.next_obs, action), dim=1).min(dim=1).values
    return [v[:, 0] for v in policy.critic(batch.obs, batch.action)], reward + discount * (lowest - log_prob)


@pytest.mark.parametrize("case", ["DQN", "SAC", "TD3", "DDPG"])
def test_a_prioritized_update_weighs_its_batch_and_ranks_it_anew(case: str) -> None:
    """Schaul et al. 2016, algorithm 1."""
    ours = ours_of(case, prioritized_replay=PRIORITIZED)
    play(ours, 8)
    ours.learn(5)
    batch = next(ours.batches(1))
    priority = ours.priorities.columns(ours.replay.begin, ours.replay.end)["priority"].astype(float)
    chance = priority[batch.at.row - ours.replay.begin, batch.at.env] / priority.sum()
    weight = (len(ours.replay) * chance) ** -0.5
    weight /= weight.max()
    assert len(set(weight.tolist())) > 3
    with torch.no_grad():
        values, target = critics_of(ours, batch)
        errors = [value - target for value in values]
        if case == "DQN":
            losses = [torch.where(e.abs() < 1, 0.5 * e**2, e.abs() - 0.5) for e in errors]
        else:
            losses = [e**2 * (0.5 if case == "SAC" else 1.0) for e in errors]
        wanted = sum((torch.tensor(weight) * loss).mean() for loss in losses)
    found = ours.learn(1)
    assert found["train/loss" if case == "DQN" else "train/critic_loss"] == pytest.approx(float(wanted), rel=1e-4)
    now = ours.priorities.columns(ours.replay.begin, ours.replay.end)["priority"]
    error = sum(e.abs() for e in errors) / len(errors)
    want = (error.numpy() + 0.01) ** 0.6
    pairs = zip((batch.at.row - ours.replay.begin).tolist(), batch.at.env.tolist(), strict=True)
    newest = dict(zip(pairs, want.tolist(), strict=True))  # one that was sampled twice has the later error
    for (row, env), value in newest.items():
        assert now[row, env] == pytest.approx(value, rel=1e-4)


def test_hindsight_gives_its_share_of_a_batch_goals_that_were_reached() -> None:
    ours = ours_of("SAC, hindsight", her={"n_sampled_goal": 3})
    play(ours, 25)
    batch = next(ours.batches(1))
    stored = ours.replay.steps(batch.at)
    other = (batch.obs["desired_goal"] != stored.obs["desired_goal"]).any(dim=1)
    assert other[:12].sum() > 8
    assert not other[12:].any()
    assert torch.equal(batch.obs["desired_goal"], batch.next_obs["desired_goal"])
    near = (batch.next_obs["achieved_goal"] - batch.obs["desired_goal"]).norm(dim=1) <= 0.25
    assert torch.equal(batch.reward, near.float() - 1)
    assert near[:12].any()


def test_nothing_is_learned_before_the_first_episode_has_ended() -> None:
    """Hindsight takes goals of whole episodes only."""
    ours = ours_of("SAC, hindsight")
    for _ in range(8):
        play(ours, 1)
        assert "train/critic_loss" not in ours.update(None)
    play(ours, 1)
    assert "train/critic_loss" in ours.update(None)


@pytest.mark.parametrize("case", ["DQN", "SAC", "TD3"])
def test_steps_that_are_not_finite_end_the_run(case: str) -> None:
    """Also where another optimizer's steps go well beside them."""
    ours = ours_of(case, max_bad_updates=5)
    play(ours, 6)
    network = ours.policy.q_net_target if case == "DQN" else ours.policy.critic_target
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    before = weights(ours.policy)
    with pytest.raises(Diverged, match="max_bad_updates"):
        ours.learn(20)
    for name, tensor in ours.policy.state_dict().items():
        if name.startswith(("critic.", "q_net.")):
            assert torch.equal(tensor.nan_to_num(), before[name].nan_to_num())


@pytest.mark.parametrize(("case", "over", "text"), [
    ("SAC", {"ent_coef": "autp"}, "model.ent_coef: 'autp' is none of a number, auto and auto_0.1"),
    ("SAC", {"ent_coef": "auto_-1"}, "model.ent_coef"),
    ("SAC", {"sde_sample_freq": 4}, "model.sde_sample_freq needs model.use_sde: true"),
    ("SAC", {"train_freq": (1, "episode")}, "model.train_freq counts episodes, and env.n_envs is 3"),
    ("DQN", {"buffer_size": 2}, "model.buffer_size is 2, fewer than the environments, env.n_envs: 3"),
    ("DQN", {"exploration_fraction": 2.0}, "model.exploration_fraction"),
    ("SAC", {"her": True}, "model.her needs Dict observations with achieved_goal and desired_goal"),
    ("SAC, hindsight", {"n_steps": 2}, "model.her takes single steps, each equally likely; remove it or model.n_steps"),
    ("SAC, hindsight", {"prioritized_replay": True}, "model.her takes single steps, .* or model.prioritized_replay"),
    ("SAC, hindsight", {"her": {"n_sampled_gaol": 4}}, "model.her: unknown key 'n_sampled_gaol'"),
    ("DQN", {"prioritized_replay": {"alpha": -1.0}}, "model.prioritized_replay.alpha is -1.0"),
    ("TD3", {"buffer_size": 10**13}, "model.buffer_size: 10,000,000,000,000 transitions need"),
])  # fmt: skip
def test_mistakes_name_the_setting(case: str, over: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text.replace("(", r"\(")):
        ours_of(case, **over)


@pytest.mark.parametrize(("cls", "env"), [(DQN, "NoisyBox"), (SAC, "Noisy"), (TD3, "NoisyMultiDiscrete")])
def test_actions_that_it_is_not_for_are_refused(cls: type, env: str) -> None:
    with pytest.raises(ConfigError, match=f"model: {cls.__name__} is for"):
        make(cls, {"class_path": envs.PATH + env, "n_envs": 1}, total_timesteps=100)  # type: ignore[type-var]
