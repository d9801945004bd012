"""One update equals stable-baselines3's A2C.train(): the same weights and rollout, in every setting with a branch."""

import inspect
import math

import numpy as np
import pytest
import stable_baselines3
import torch
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike

from lit_rl import A2C
from lit_rl.errors import ConfigError
from tests.helpers import envs
from tests.helpers.on_policy import flat_weights, iterate, make_a2c, sb3_train, sb3_twin, weights

SMALL = {"net_arch": [16]}
SETTINGS = {"n_steps": 8, "learning_rate": 3e-2, "policy_kwargs": SMALL, "seed": 3, "total_timesteps": 1000}
SDE = {"use_sde": True}
TF_LIKE = {"net_arch": [16], "optimizer_class": RMSpropTFLike, "optimizer_kwargs": {"eps": 1e-4}}
CASES = {
    "Discrete": ("Noisy", {}),
    "Box": ("NoisyBox", {}),
    "MultiDiscrete": ("NoisyMultiDiscrete", {}),
    "MultiBinary": ("NoisyMultiBinary", {}),
    "Dict": ("NoisyDict", {"policy": "MultiInputPolicy", "learning_rate": 1e-3}),
    "gSDE": ("NoisyBox", SDE),
    "gSDE squashed": (
        "NoisyBox",
        {**SDE, "policy_kwargs": {**SMALL, "squash_output": True}, "ent_coef": 0.01},
    ),
    "normalised advantages": ("NoisyBox", {"normalize_advantage": True}),
    "lambda below one": ("Noisy", {"gae_lambda": 0.9, "gamma": 0.95}),
    "entropy and value weights": ("NoisyMultiDiscrete", {"ent_coef": 0.1, "vf_coef": 0.25}),
    "tight clip": ("NoisyBox", {"max_grad_norm": 0.05}),
    "schedule": ("Noisy", {"learning_rate": "lin_3e-2"}),
    "another eps": ("Noisy", {"rms_prop_eps": 1e-2}),
    "Adam": ("Noisy", {"use_rms_prop": False}),
    "RMSprop of TensorFlow": ("NoisyBox", {"policy_kwargs": TF_LIKE}),
    "SGD": ("NoisyBox", {"policy_kwargs": {"net_arch": [16], "optimizer_class": torch.optim.SGD}}),
    "own extractors": ("NoisyBox", {"policy_kwargs": {"net_arch": [16], "share_features_extractor": False}}),
}


def twins(name, settings):
    env = {"class_path": envs.PATH + name, "n_envs": 3, "max_episode_steps": 9}
    settings = {**SETTINGS, **settings}
    a2c = make_a2c(env, **settings)
    return a2c, sb3_twin(a2c, settings.get("policy", "MlpPolicy"))


@pytest.mark.parametrize("case", CASES)
def test_an_update_equals_sb3s(case, monkeypatch):
    a2c, twin = twins(*CASES[case])
    before = weights(a2c.policy)
    for _ in range(3):  # the later ones with the optimizer's state of the first
        rollout = a2c.collect()
        theirs = sb3_train(twin, a2c, rollout, monkeypatch)
        ours = a2c.update(rollout)
        a2c.counters.iterations += 1
        for key, tensor in twin.policy.state_dict().items():
            torch.testing.assert_close(
                weights(a2c.policy)[key], tensor, rtol=2e-4, atol=2e-5, msg=lambda text, key=key: f"{key}: {text}"
            )
        for key, value in theirs.items():
            assert ours[key] == pytest.approx(value, rel=1e-3, abs=2e-5), key
        assert {key for key in ours if key.startswith("train/")} == set(theirs)
    moved = max(float((weights(a2c.policy)[key] - before[key]).abs().max()) for key in before)
    assert moved > 1e-3  # far above the tolerance


def test_its_defaults_are_sb3s():
    ours, theirs = inspect.signature(A2C.__init__).parameters, inspect.signature(stable_baselines3.A2C).parameters
    ignored = {"env", "policy", "seed"}  # required there, or None for whatever comes
    for name in ours.keys() & theirs.keys() - ignored:
        assert ours[name].default == theirs[name].default, name
    missing = theirs.keys() - ours.keys()
    assert missing == {
        "rollout_buffer_class", "rollout_buffer_kwargs", "stats_window_size", "tensorboard_log", "verbose", "device",
        "_init_setup_model",
    }  # fmt: skip


def test_the_optimizer_is_the_one_asked_for():
    env = {"class_path": envs.PATH + "Noisy", "n_envs": 2}

    def optimizer(**settings):
        return make_a2c(env, fast=False, **settings).optimizers()

    default = optimizer()
    assert type(default) is torch.optim.RMSprop
    assert (default.defaults["alpha"], default.defaults["eps"], default.defaults["lr"]) == (0.99, 1e-5, 7e-4)
    assert type(optimizer(use_rms_prop=False)) is torch.optim.Adam
    named = "stable_baselines3.common.sb2_compat.rmsprop_tf_like.RMSpropTFLike"
    assert type(optimizer(policy_kwargs={"optimizer_class": named})) is RMSpropTFLike


CHANGES = {
    "learning_rate": {"learning_rate": 1e-3},
    "n_steps": {"n_steps": 7},
    "gamma": {"gamma": 0.9},
    "gae_lambda": {"gae_lambda": 0.5},
    "ent_coef": {"ent_coef": 0.1},
    "vf_coef": {"vf_coef": 1.0},
    "max_grad_norm": {"max_grad_norm": 0.01},
    "rms_prop_eps": {"rms_prop_eps": 1e-2},
    "use_rms_prop": {"use_rms_prop": False},
    "use_sde": {"use_sde": True},
    "sde_sample_freq": {"use_sde": True, "sde_sample_freq": 2},
    "normalize_advantage": {"normalize_advantage": True},
    "policy_kwargs": {"policy_kwargs": {"net_arch": [8]}},
    "seed": {"seed": 1},
}


@pytest.mark.parametrize("option", CHANGES)
def test_an_option_changes_what_is_learned(option):
    def trained(**settings):
        a2c = make_a2c({"class_path": envs.PATH + "NoisyBox", "n_envs": 2, "max_episode_steps": 9}, **settings)
        iterate(a2c, 3)
        return flat_weights(a2c)

    base = {"use_sde": True} if option == "sde_sample_freq" else {}
    one, other = trained(**{**SETTINGS, **base}), trained(**{**SETTINGS, **CHANGES[option]})
    assert one.shape != other.shape or not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"n_steps": 0}, "model.n_steps is 0"),
        ({"cycles_per_iteration": 0}, "model.cycles_per_iteration is 0"),
        ({"sde_sample_freq": 4}, "model.sde_sample_freq needs model.use_sde: true"),
        ({"policy": "MlpPolcy"}, "Did you mean 'MlpPolicy'"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, text):
    with pytest.raises(ConfigError, match=text):
        make_a2c({"class_path": envs.PATH + "Noisy"}, **settings)


@pytest.mark.parametrize("more", [{}, {"normalize_advantage": True, "use_sde": True, "ent_coef": 0.01}])
def test_an_update_in_pieces_is_the_whole_one_to_float_tolerance(more):
    def trained(**settings):
        env = {"id": "Pendulum-v1", "n_envs": 4, "max_episode_steps": 20, "normalize": {"obs": True, "reward": True}}
        a2c = make_a2c(env, **{**SETTINGS, **more, "learning_rate": 1e-3, **settings})
        return iterate(a2c, 2), flat_weights(a2c)

    threads = torch.get_num_threads()
    (numbers, whole), (theirs, pieces) = trained(), trained(deterministic_reduction=True)
    torch.set_num_threads(threads)
    np.testing.assert_allclose(pieces, whole, atol=1e-5)
    assert not np.array_equal(pieces, whole), "the sums are taken in another order"
    for name in (n for n in numbers if n.startswith("train/")):
        assert theirs[name] == pytest.approx(numbers[name], rel=1e-3, abs=1e-5), name


@pytest.mark.learning
def test_discrete_actions_learn_the_context():
    a2c = make_a2c(
        {"class_path": envs.PATH + "ContextBandit", "n_envs": 8},
        n_steps=8, learning_rate=1e-2, policy_kwargs={"net_arch": [16]}, gamma=0.9,
    )  # fmt: skip
    metrics = iterate(a2c, 250)
    contexts = torch.eye(4)
    with torch.no_grad():
        probability = torch.softmax(a2c.net.actor(contexts)[0], dim=1).diagonal()
        value = a2c.net.critic(contexts)
    assert float(probability.min()) > 0.9  # 0.25 by chance
    assert metrics["rollout/ep_rew_mean"] > 0.85
    np.testing.assert_allclose(value, 1.0, atol=0.15)  # one step an episode: worth the reward


@pytest.mark.learning
def test_box_actions_learn_where_to_aim():
    a2c = make_a2c(
        {"class_path": envs.PATH + "Aim", "n_envs": 8},
        n_steps=16, learning_rate=5e-3, policy_kwargs={"net_arch": [16], "log_std_init": -0.5}, gamma=0.9,
        normalize_advantage=True,
    )  # fmt: skip
    iterate(a2c, 400)
    targets = torch.linspace(-0.9, 0.9, 7).unsqueeze(1)
    with torch.no_grad():
        mean = a2c.net.actor(targets)[0]
    np.testing.assert_allclose(mean, 0.8 * targets + 0.5, atol=0.25)


def test_a_bad_update_is_skipped_and_counted(monkeypatch):
    a2c = make_a2c({"class_path": envs.PATH + "NoisyBox", "n_envs": 2, "max_episode_steps": 9}, **SETTINGS)
    iterate(a2c)
    before, loss_of = weights(a2c.policy), A2C._loss
    monkeypatch.setattr(
        A2C, "_loss", lambda self, piece: (loss_of(self, piece)[0].times(math.nan), loss_of(self, piece)[1])
    )
    metrics = iterate(a2c)
    assert metrics["train/bad_updates"] == 1
    assert a2c.counters.gradient_steps == 1
    assert all(torch.equal(before[key], tensor) for key, tensor in weights(a2c.policy).items())
