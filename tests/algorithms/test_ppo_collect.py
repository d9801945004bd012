"""A collected rollout against stable-baselines3's policy, its buffer, and its own collect_rollouts."""

import itertools

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3
import torch
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize, VecTransposeImage
from torch import nn

from lit_rl import A2C, PPO
from lit_rl.errors import ConfigError
from lit_rl.networks.actor_critic import to_env
from lit_rl.ops.draws import BLOCK
from lit_rl.ops.streams import generator
from tests.helpers import envs
from tests.helpers.on_policy import env_major, iterate, make, make_ppo, sb3_twin

T, N, LIMIT = 30, 3, 7
SETTINGS = {"n_steps": T, "policy_kwargs": {"net_arch": [16]}, "seed": 1, "gamma": 0.9, "gae_lambda": 0.8}
SQUASHED = {"use_sde": True, "policy_kwargs": {"net_arch": [16], "squash_output": True}}
CASES = {
    "Discrete": ("Walk", {}),
    "Box": ("BoxWalk", {}),
    "MultiDiscrete": ("MultiDiscreteWalk", {}),
    "MultiBinary": ("MultiBinaryWalk", {}),
    "Dict": ("DictWalk", {"policy": "MultiInputPolicy"}),
    "image": ("Image", {"policy": "CnnPolicy"}),
    "gSDE": ("BoxWalk", {"use_sde": True}),
    "gSDE squashed": ("BoxWalk", SQUASHED),
}


def collected(name, settings, normalize=None):
    env = {
        "class_path": envs.PATH + name,
        "n_envs": N,
        "max_episode_steps": LIMIT,
        "normalize": normalize or {},
    }
    ppo = make_ppo(env, **{**SETTINGS, **settings})
    return ppo, ppo.collect()


def as_sb3_draws(action, case):
    """SB3's Bernoulli actions are floats."""
    return action.float() if case == "MultiBinary" else action


@pytest.mark.parametrize("case", CASES)
def test_values_and_log_probabilities_are_the_policys(case):
    ppo, rollout = collected(*CASES[case])
    twin = sb3_twin(ppo, CASES[case][1].get("policy", "MlpPolicy"))
    with torch.no_grad():
        value, log_prob, _ = twin.policy.evaluate_actions(rollout.obs, as_sb3_draws(rollout.action, case))
        predicted = twin.policy.predict_values(rollout.obs)
    torch.testing.assert_close(rollout.value, value.flatten(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(rollout.value, predicted.flatten(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(rollout.log_prob, log_prob, rtol=1e-4, atol=1e-4)
    assert len(rollout) == T * N
    assert len(torch.unique(rollout.action, dim=0)) > 2


@pytest.mark.parametrize("normalize", [None, {"obs": True, "reward": True, "clip_obs": 1.5, "clip_reward": 2.0}])
@pytest.mark.parametrize("case", [case for case in CASES if case != "gSDE"])
def test_a_rollout_equals_sb3s_collect_rollouts(case, normalize, monkeypatch):
    """SB3 plays the same deterministic environments with our actions: both ends of episodes, and moments."""
    name, settings = CASES[case]
    if normalize and case in ("Dict", "image"):
        normalize = {**normalize, "obs": case == "Dict"}
        if case == "Dict":
            normalize["keys"] = ["vector"]
    ppo, rollout = collected(name, settings, normalize)

    def make():
        return Monitor(gym.wrappers.TimeLimit(getattr(envs, name)(), LIMIT))

    venv = DummyVecEnv([make] * N)
    if case in ("Dict", "image"):
        venv = VecTransposeImage(venv)
    if normalize:
        options = {key: value for key, value in normalize.items() if key.startswith("clip")}
        venv = VecNormalize(
            venv,
            norm_obs=normalize["obs"],
            norm_reward=normalize["reward"],
            gamma=0.9,
            norm_obs_keys=normalize.get("keys"),
            **options,
        )
    twin = stable_baselines3.PPO(
        settings.get("policy", "MlpPolicy"),
        venv,
        n_steps=T,
        batch_size=T * N,
        gamma=0.9,
        gae_lambda=0.8,
        use_sde=ppo.use_sde,
        policy_kwargs=dict(ppo.policy_kwargs),
        device="cpu",
    )
    twin.set_logger(Logger(folder=None, output_formats=[]))
    twin.policy.load_state_dict(ppo.policy.state_dict())
    actions = iter(rollout.action.reshape(T, N, *rollout.action.shape[1:]))

    def our_action(obs, deterministic=False):
        action = next(actions)
        value, log_prob, _ = twin.policy.evaluate_actions(obs, as_sb3_draws(action, case))
        return action, value, log_prob

    monkeypatch.setattr(twin.policy, "forward", our_action)
    _, callback = twin._setup_learn(T * N)
    twin.collect_rollouts(twin.env, callback, twin.rollout_buffer, T)
    buffer = twin.rollout_buffer
    obs = rollout.obs if isinstance(rollout.obs, dict) else {"": rollout.obs}
    their_obs = buffer.observations if isinstance(rollout.obs, dict) else {"": buffer.observations}
    for key, part in obs.items():
        ours = env_major(part, T, N).reshape(their_obs[key].shape)
        np.testing.assert_allclose(ours, their_obs[key], rtol=1e-4, atol=1e-5, err_msg=key)
    close = {"rtol": 1e-3, "atol": 1e-4}
    np.testing.assert_allclose(ppo.storage.reward, buffer.rewards, **close)
    np.testing.assert_allclose(env_major(rollout.value, T, N), buffer.values, **close)
    np.testing.assert_allclose(env_major(rollout.log_prob, T, N), buffer.log_probs, **close)
    np.testing.assert_allclose(env_major(rollout.advantage, T, N), buffer.advantages, **close)
    np.testing.assert_allclose(env_major(rollout.ret, T, N), buffer.returns, **close)
    assert 5 < ppo.storage.done.sum() < T * N / 2
    # what is shown of episodes: theirs is Monitor's
    ours = [(episode.ret, episode.length) for episode in ppo.play.ended]
    np.testing.assert_allclose(ours, [(info["r"], info["l"]) for info in twin.ep_info_buffer], atol=1e-5)


def test_a_truncated_episode_is_worth_the_value_of_its_last_observation():
    """A constant value of 4, gamma 0.5, lambda 0; standing still pays -1 and is cut off at step 3."""
    ppo = make_ppo(
        {"class_path": envs.PATH + "Walk", "max_episode_steps": 3},
        n_steps=4,
        gamma=0.5,
        gae_lambda=0.0,
        batch_size=4,
    )
    with torch.no_grad():
        ppo.policy.value_net.weight.zero_()
        ppo.policy.value_net.bias.fill_(4.0)
        ppo.policy.action_net.weight.zero_()
        ppo.policy.action_net.bias.copy_(torch.tensor([-100.0, 100.0, -100.0]))
    rollout = ppo.collect()
    # returns: -1 + 0.5 * 4 at every step, the truncated one too
    torch.testing.assert_close(rollout.ret, torch.full((4,), 1.0))
    torch.testing.assert_close(rollout.advantage, torch.full((4,), -3.0))


def test_a_terminated_episode_is_worth_nothing_more():
    ppo = make_ppo({"class_path": envs.PATH + "Walk"}, n_steps=7, gamma=0.5, gae_lambda=0.0, batch_size=7)
    with torch.no_grad():
        ppo.policy.value_net.weight.zero_()
        ppo.policy.value_net.bias.fill_(4.0)
        ppo.policy.action_net.weight.zero_()
        ppo.policy.action_net.bias.copy_(torch.tensor([-100.0, -100.0, 100.0]))
    rollout = ppo.collect()
    # distances to 1: 0.5, 0, 0.5, 1, 1.5, 2 (the end), 0.5 again; plus half the value 4 but for the end
    torch.testing.assert_close(rollout.ret, torch.tensor([1.5, 2.0, 1.5, 1.0, 0.5, -2.0, 1.5]))


def test_actions_are_drawn_with_the_environments_own_noise():
    """The action of environment e at step t needs the weights, the observation and stream (e, iteration)."""
    ppo, _ = collected("BoxWalk", {})
    iterate(ppo)
    with torch.no_grad():
        ppo.policy.action_net.weight.zero_()
        ppo.policy.action_net.bias.zero_()
        ppo.policy.log_std.fill_(np.log(0.5))
    iteration = ppo.counters.iterations
    action = env_major(ppo.collect().action, T, N)
    for e in range(N):
        noise = generator(1, "actions", e, iteration).standard_normal((T, 2), dtype=np.float32)
        np.testing.assert_allclose(action[:, e], 0.5 * noise, rtol=1e-5)


def test_noise_of_short_rollouts_is_drawn_for_a_block_of_them():
    module = make(A2C, {"class_path": envs.PATH + "BoxWalk", "n_envs": 2}, n_steps=5, seed=5)
    noise = generator(5, "actions", 1, 2).standard_normal((BLOCK // 5, 5, 2), dtype=np.float32)
    np.testing.assert_array_equal(module._action_noises()[2 * (BLOCK // 5) + 7][1], noise[7])


@pytest.mark.parametrize("cls", [PPO, A2C])
def test_noise_belongs_to_an_environment_whatever_rank_it_is_on(cls):
    """A rank with the second half of the environments draws what one process draws for them."""
    module = make(cls, {"class_path": envs.PATH + "BoxWalk", "n_envs": 4}, n_steps=3, seed=5)
    whole = module._action_noises()[47]
    module.ranks.rank, module.ranks.size = 1, 2
    half = module._action_noises()[47]
    module.ranks.rank, module.ranks.size = 0, 1
    assert np.array_equal(half, whole[2:])
    assert not np.array_equal(half, whole[:2])


def test_noise_of_a_rollout_is_the_same_whatever_was_drawn_before():
    """So that a run that is resumed anywhere in a block draws what one that went through draws."""
    module = make(A2C, {"class_path": envs.PATH + "BoxWalk", "n_envs": 2}, n_steps=5, seed=5)
    through = module._action_noises()
    went_through = [through[i] for i in range(60)]
    for first in (1, 24, 25, 49):
        assert np.array_equal(module._action_noises()[first], went_through[first])
    assert len({each.tobytes() for each in went_through}) == 60


@pytest.mark.parametrize(("freq", "kept"), [(-1, [30]), (4, [4] * 7 + [2]), (1, [1] * 30)])
def test_gsde_keeps_its_noise_for_as_long_as_it_is_told(freq, kept):
    ppo, _ = collected("BoxWalk", {"use_sde": True, "sde_sample_freq": freq})
    seen = []
    sample = type(ppo.net.distribution).sample

    def spy(self, head, extra, latent, noise):
        seen.append(noise[0].numpy().tobytes())
        return sample(self, head, extra, latent, noise)

    type(ppo.net.distribution).sample = spy
    try:
        ppo.collect()
    finally:
        type(ppo.net.distribution).sample = sample
    runs = [1]
    for before, now in itertools.pairwise(seen):
        if now == before:
            runs[-1] += 1
        else:
            runs.append(1)
    assert runs == kept


def test_box_actions_are_clipped_for_the_environment_and_kept_as_drawn():
    ppo, rollout = collected("BoxWalk", {"policy_kwargs": {"net_arch": [16], "log_std_init": 2.0}})
    assert float(rollout.action.abs().max()) > 3.0
    sent = to_env(rollout.action.numpy(), ppo.policy)
    assert sent.min() == np.float32(-0.6)
    assert sent.max() == np.float32(0.8)


def test_squashed_actions_fill_the_box():
    ppo, rollout = collected(*CASES["gSDE squashed"])
    assert float(rollout.action.abs().max()) <= 1.0
    sent = to_env(np.array([[-1.0, 1.0], [0.0, 0.0]], np.float32), ppo.policy)
    np.testing.assert_allclose(sent, [[-0.6, 0.8], [0.1, 0.1]], rtol=1e-5, atol=1e-7)


class DropoutExtractor(FlattenExtractor):
    def __init__(self, observation_space):
        super().__init__(observation_space)
        self.dropout = nn.Dropout(0.5)

    def forward(self, observations):
        return self.dropout(super().forward(observations))


def test_dropout_is_off_while_playing_and_on_while_updating_as_in_sb3():
    kwargs = {"net_arch": [16], "features_extractor_class": DropoutExtractor}
    ppo, rollout = collected("Walk", {"policy_kwargs": kwargs})
    twin = sb3_twin(ppo)
    twin.policy.set_training_mode(False)
    with torch.no_grad():
        value, log_prob, _ = twin.policy.evaluate_actions(rollout.obs, rollout.action)
    torch.testing.assert_close(rollout.value, value.flatten())
    torch.testing.assert_close(rollout.log_prob, log_prob)
    modes = []
    ppo.policy.features_extractor.register_forward_hook(lambda module, *_: modes.append(module.training))
    ppo.update(rollout)
    assert all(modes)
    modes.clear()
    ppo.collect()
    assert not any(modes)


def test_a_hook_on_a_small_layer_is_called():
    ppo, _ = collected("BoxWalk", {"fast": False})
    calls = []
    layers = [ppo.policy.mlp_extractor.policy_net[0], ppo.policy.action_net, ppo.policy.value_net]
    for layer in layers:
        layer.register_forward_hook(lambda module, *_: calls.append(module))
    ppo.collect()
    # once a step and once for the rollout; values: of the rollout, of what follows it, of truncated episodes' ends
    assert [calls.count(layer) for layer in layers] == [T + 1, T + 1, 3]


@pytest.mark.parametrize("register", [
    lambda policy: policy.value_net.register_forward_hook(lambda *_: None),
    lambda policy: policy.mlp_extractor.policy_net[0].weight.register_hook(lambda g: g),
])  # fmt: skip
def test_a_hook_that_would_not_be_called_is_refused(register):
    ppo, _ = collected("BoxWalk", {})
    register(ppo.policy)
    with pytest.raises(ConfigError, match=r"has a hook.*model\.fast: false"):
        ppo.training_step(0, 0)


def test_the_choice_of_backend_changes_nothing():
    results = []
    for settings in ({"backend": "sync"}, {"backend": "async", "n_workers": 2}):
        ppo = make_ppo(
            {"class_path": envs.PATH + "NoisyBox", "n_envs": N, "max_episode_steps": LIMIT, **settings},
            **{**SETTINGS, "n_epochs": 2},
        )
        iterate(ppo, 2)
        results.append([p.detach().numpy().tobytes() for p in ppo.policy.parameters()])
        ppo.teardown("fit")
    assert results[0] == results[1]
