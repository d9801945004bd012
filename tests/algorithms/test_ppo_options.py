"""Every option changes a number, and settings that cannot be are refused."""

import inspect

import numpy as np
import pytest
import torch
from stable_baselines3.common.policies import ActorCriticPolicy

from lit_rl.algorithms.ppo import PPO
from lit_rl.errors import ConfigError
from tests.helpers import envs
from tests.helpers.on_policy import flat_weights, iterate, make_ppo

BASE = {
    "n_steps": 16,
    "batch_size": 16,
    "n_epochs": 3,
    "learning_rate": 3e-3,
    "total_timesteps": 1000,
    "policy_kwargs": {"net_arch": [8]},
}
SDE = {"use_sde": True, "sde_sample_freq": -1}
CHANGES = {
    "policy": ({}, {"policy": f"{__name__}.WithoutBias"}),
    "learning_rate": ({}, {"learning_rate": 1e-3}),
    "n_steps": ({}, {"n_steps": 15}),
    "batch_size": ({}, {"batch_size": 8}),
    "n_epochs": ({}, {"n_epochs": 2}),
    "gamma": ({}, {"gamma": 0.9}),
    "gae_lambda": ({}, {"gae_lambda": 0.5}),
    "clip_range": ({"learning_rate": 1e-2}, {"learning_rate": 1e-2, "clip_range": 0.01}),
    "clip_range_vf": ({}, {"clip_range_vf": 0.01}),
    "normalize_advantage": ({}, {"normalize_advantage": False}),
    "ent_coef": ({}, {"ent_coef": 0.1}),
    "vf_coef": ({}, {"vf_coef": 1.0}),
    "max_grad_norm": ({}, {"max_grad_norm": 0.01}),
    "use_sde": ({}, {"use_sde": True}),
    "sde_sample_freq": (SDE, {**SDE, "sde_sample_freq": 4}),
    "target_kl": ({"learning_rate": 1e-2}, {"learning_rate": 1e-2, "target_kl": 1e-4}),
    "policy_kwargs": ({}, {"policy_kwargs": {"net_arch": [8], "log_std_init": -1.0}}),
    "seed": ({}, {"seed": 1}),
    "total_timesteps": ({"learning_rate": "lin_3e-3"}, {"learning_rate": "lin_3e-3", "total_timesteps": 100}),
}
ENV = {"class_path": envs.PATH + "NoisyBox", "n_envs": 2, "max_episode_steps": 9}


class WithoutBias(ActorCriticPolicy):
    """Counts as another policy: its action net begins elsewhere."""

    def _build(self, lr_schedule):
        super()._build(lr_schedule)
        torch.nn.init.constant_(self.action_net.bias, 0.5)


def trained(settings, env=ENV):
    ppo = make_ppo(env, **{**BASE, **settings})
    iterate(ppo, 2)
    return flat_weights(ppo)


def test_every_option_is_in_the_list():
    options = set(inspect.signature(PPO.__init__).parameters) - {"self", "env"}
    options -= {"curriculum", "evaluation"}  # tests/runs/test_levels.py, test_evaluation_beside.py
    options -= {"deterministic_reduction", "reduction_pieces"}  # test_ppo_sharing.py
    options -= {"fast"}  # test_fast.py: the last bits alone
    options -= {"max_bad_updates"}  # test_ppo_diverges.py
    options -= {"cycles_per_iteration"}  # tests/runs/test_iterations.py: what it must not change
    assert options == set(CHANGES)


@pytest.mark.parametrize("option", CHANGES)
def test_an_option_changes_what_is_learned(option):
    before, after = CHANGES[option]
    one, other = trained(before), trained(after)
    assert one.shape != other.shape or np.abs(one - other).max() > 1e-5


@pytest.mark.parametrize(
    "change",
    [
        {"normalize": {"obs": True}},
        {"normalize": {"reward": True}},
        {"normalize": {"obs": True, "clip_obs": 0.5}},
        {"normalize": {"reward": True, "clip_reward": 0.1}},
        {"normalize": {"reward": True, "gamma": 0.5}},
        {"normalize": {"obs": True, "epsilon": 1.0}},
        {"max_episode_steps": 5},
        {"frame_stack": 2},
        {"n_envs": 3},
        {"class_path": envs.PATH + "Noisy"},
        {"wrappers": [{"class_path": envs.PATH + "NoiseWrapper"}]},
        {"wrappers": [{"class_path": envs.PATH + "NoiseWrapper", "init_args": {"scale": 0.5}}]},
    ],
    ids=str,
)
def test_an_option_of_the_environments_changes_what_is_learned(change):
    base = dict(ENV)
    if "normalize" in change and len(change["normalize"]) == 2:
        base["normalize"] = {key: value for key, value in change["normalize"].items() if value is True}
    elif "init_args" in str(change):
        base["wrappers"] = [{"class_path": envs.PATH + "NoiseWrapper"}]
    one, other = trained({}, base), trained({}, {**base, **change})
    assert one.shape != other.shape or np.abs(one - other).max() > 1e-5


def test_the_same_settings_give_the_same_weights_whatever_the_global_streams():
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    one = trained({})
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    state, legacy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    other = trained({})
    assert one.tobytes() == other.tobytes()
    assert torch.equal(state, torch.get_rng_state())
    np.testing.assert_array_equal(legacy, np.random.get_state()[1])  # noqa: NPY002


def test_a_classes_name_is_as_good_as_the_class():
    by_class = {"net_arch": [8], "activation_fn": torch.nn.ReLU, "optimizer_class": torch.optim.RMSprop}
    by_name = {"net_arch": [8], "activation_fn": "ReLU", "optimizer_class": "torch.optim.RMSprop"}
    one, other = trained({"policy_kwargs": by_class}), trained({"policy_kwargs": by_name})
    assert one.tobytes() == other.tobytes()
    assert one.tobytes() != trained({}).tobytes()


class OwnForward(ActorCriticPolicy):
    def forward(self, obs, deterministic=False):
        return super().forward(obs, deterministic)


class OwnEvaluation(ActorCriticPolicy):
    def evaluate_actions(self, obs, actions):
        return super().evaluate_actions(obs, actions)


class OwnValues(ActorCriticPolicy):
    def predict_values(self, obs):
        return super().predict_values(obs)


class OwnDistribution(ActorCriticPolicy):
    def _get_action_dist_from_latent(self, latent_pi):
        return super()._get_action_dist_from_latent(latent_pi)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("OwnForward", "forward"),
        ("OwnEvaluation", "evaluate_actions"),
        ("OwnValues", "predict_values"),
        ("OwnDistribution", "_get_action_dist_from_latent"),
    ],
)
def test_a_policy_whose_change_would_go_unnoticed_is_refused(name, method):
    with pytest.raises(ConfigError, match=rf"model\.policy: {name} replaces {method}\(\)"):
        make_ppo(ENV, **{**BASE, "policy": f"{__name__}.{name}"})


class OwnFeatures(ActorCriticPolicy):
    """Sees only the first number of an observation."""

    def extract_features(self, obs, features_extractor=None):
        return super().extract_features(obs * torch.tensor([1.0, 0.0]), features_extractor)


def test_a_policys_own_features_are_used():
    plain = make_ppo(ENV, **BASE)
    own = make_ppo(ENV, **{**BASE, "policy": f"{__name__}.OwnFeatures"})
    obs = torch.tensor([[0.5, 3.0]])
    blind = torch.tensor([[0.5, 0.0]])
    with torch.no_grad():
        assert not torch.equal(plain.net.critic(obs), own.net.critic(obs))
        torch.testing.assert_close(plain.net.critic(blind), own.net.critic(obs))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_steps": 0}, r"model\.n_steps is 0"),
        ({"batch_size": 0}, r"model\.batch_size is 0"),
        ({"n_epochs": 0}, r"model\.n_epochs is 0"),
        ({"max_bad_updates": 0}, r"model\.max_bad_updates is 0"),
        ({"total_timesteps": 0}, r"total_timesteps is 0"),
        ({"sde_sample_freq": 4}, r"model\.sde_sample_freq needs model\.use_sde"),
        ({"policy_kwargs": {"squash_output": True}}, r"squash_output needs model\.use_sde"),
        (
            {"policy_kwargs": {"net_arc": [8]}},
            r"model\.policy_kwargs: .*'net_arc'.* Did you mean 'net_arch'\?",
        ),
        ({"policy_kwargs": {"activation_fn": "ReLUU"}}, r"model\.policy_kwargs\.activation_fn"),
        ({"policy": "MlpPolic"}, r"model\.policy: 'MlpPolic'.* Did you mean 'MlpPolicy'\?"),
        ({"policy": "torch.nn.Linear"}, r"model\.policy: .*not a subclass"),
        ({"policy": "torch.nn.Lineer"}, r"model\.policy: .*Did you mean 'Linear'"),
        ({"policy": "CnnPolicy"}, r"model\.policy: .*"),
        ({"learning_rate": "fast"}, r"model\.learning_rate: 'fast'"),
        ({"clip_range": "lin_"}, r"model\.clip_range: 'lin_'"),
        ({"clip_range_vf": "x"}, r"model\.clip_range_vf: 'x'"),
    ],
)
def test_settings_that_cannot_be_are_one_line(settings, message):
    with pytest.raises(ConfigError, match=message) as caught:
        make_ppo(ENV, **{**BASE, **settings})
    assert "\n" not in str(caught.value)


def test_state_dependent_noise_needs_box_actions():
    with pytest.raises(ConfigError, match=r"model\.use_sde is for Box"):
        make_ppo({**ENV, "class_path": envs.PATH + "Noisy"}, **BASE, use_sde=True)


def test_dict_observations_need_their_policy():
    with pytest.raises(ConfigError, match="MultiInputPolicy"):
        make_ppo({**ENV, "class_path": envs.PATH + "NoisyDict"}, **BASE)


def test_one_transition_is_no_rollout():
    with pytest.raises(ConfigError, match="at least 2"):
        make_ppo({**ENV, "n_envs": 1}, **{**BASE, "n_steps": 1})
