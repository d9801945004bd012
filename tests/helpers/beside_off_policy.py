"""Whole short runs of off-policy algorithms: stable-baselines3's own `learn` on our environments, with our draws."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecNormalize

from lit_rl import DQN, SAC
from lit_rl.algorithms.off_policy import OffPolicy
from lit_rl.interop.settings import sb3_class
from tests.helpers import envs
from tests.helpers.beside_sb3 import AsVecEnv
from tests.helpers.off_policy import differences, samples_noise, standard_normal
from tests.helpers.on_policy import make

SETTINGS = {"learning_rate": "lin_1e-3", "batch_size": 16, "buffer_size": 150, "learning_starts": 40, "gamma": 0.95,
            "policy_kwargs": {"net_arch": [16]}}  # fmt: skip
TIMESTEPS = 360


def pair(cls: type, n_envs: int, settings: dict[str, Any], moments: bool) -> tuple[Any, Any]:
    """Our module, and another that lends its environments and its draws."""
    env = "Noisy" if issubclass(cls, DQN) else "NoisyBox"
    where: dict[str, Any] = {"class_path": envs.PATH + env, "max_episode_steps": 9}
    if moments:
        where["normalize"] = {"obs": True, "reward": True}
    given = {**SETTINGS, "total_timesteps": TIMESTEPS, "seed": 5, "cycles_per_iteration": 1, **settings}
    return tuple(make(cls, {**where, "n_envs": n_envs}, **given) for _ in range(2))


def twin_on(stage: OffPolicy, settings: dict[str, Any], moments: bool) -> Any:
    """SB3's algorithm on the environments of one of our modules, with its weights."""
    ours_alone = {"share_exploration", "noise_type", "noise_std"}
    given = {**SETTINGS, **{key: value for key, value in settings.items() if key not in ours_alone}}
    given |= {"learning_rate": lambda progress: 1e-3 * progress, "policy_kwargs": dict(given["policy_kwargs"])}
    env: Any = AsVecEnv(stage.play)
    if moments:
        env = VecNormalize(env, gamma=given["gamma"])
    theirs = sb3_class(type(stage))("MlpPolicy", env, device="cpu", **given)
    theirs.set_logger(Logger(folder=None, output_formats=[]))
    theirs.policy.load_state_dict(stage.policy.state_dict())
    return theirs


def let_it_act(theirs: Any, stage: Any) -> None:
    """Its own networks and its own exploration rate, with the numbers that ours draws."""
    steps = iter(range(10**6))

    def sample_action(learning_starts: int, action_noise: Any = None, n_envs: int = 1) -> tuple[Any, Any]:
        step = next(steps)
        drawn = stage.exploring[step]
        warmup = theirs.num_timesteps < learning_starts
        with torch.no_grad():
            obs = torch.as_tensor(np.array(theirs._last_obs))
            if isinstance(stage, DQN):
                uniform, random = drawn
                uniform = uniform[:1].repeat(n_envs) if stage.share_exploration else uniform
                greedy = theirs.policy._predict(obs.float()).numpy()
                chosen = random if warmup else np.where(uniform < theirs.exploration_rate, random, greedy)
                return chosen, chosen
            uniform, own, on_top = drawn
            if warmup:
                scaled = uniform
            elif isinstance(stage, SAC):
                mean, log_std, _ = theirs.actor.get_action_dist_params(obs.float())
                scaled = torch.tanh(mean + log_std.exp() * torch.from_numpy(own)).numpy()
            else:
                scaled = theirs.actor(obs.float()).numpy()
        if stage.noise is not None:
            scaled = np.clip(scaled + stage.noise(on_top), -1, 1)
        return stage.unscaled(scaled), scaled  # theirs may leave the bounds by a rounding

    theirs._sample_action = sample_action


def let_it_sample(theirs: Any, stage: OffPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer, steps, rows = theirs.replay_buffer, iter(range(10**6)), stage.replay.rows

    def sample(batch_size: int, env: Any = None) -> Any:
        end = buffer.pos + (rows if buffer.full else 0)
        count = rows if buffer.full else buffer.pos
        flat = (stage.sampling[next(steps)] * count * stage.replay.n_envs).astype(int)
        row = end - count + flat // stage.replay.n_envs
        with monkeypatch.context() as patch:
            patch.setattr(np.random, "randint", lambda *_, **__: flat % stage.replay.n_envs)
            return buffer._get_samples(row % rows, env=env)

    buffer.sample = sample


def all_noise(stage: Any) -> Iterator[torch.Tensor]:
    for step in range(10**6):
        stage.counters.updates = step
        yield from samples_noise(stage)


def assert_equal_runs(
    cls: type, n_envs: int, settings: dict[str, Any], moments: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of ours and one of SB3's, from equal weights and with equal draws, take the same updates."""
    ours, stage = pair(cls, n_envs, settings, moments)
    theirs = twin_on(stage, settings, moments)
    let_it_act(theirs, stage)
    let_it_sample(theirs, stage, monkeypatch)
    noise = all_noise(stage)
    add = theirs.replay_buffer.add

    def add_and_reset(*words: Any) -> None:
        add(*words)
        if stage.noise is not None and words[4].any():  # it resets its own noise, and has none here
            stage.noise.reset(np.flatnonzero(words[4]).tolist())

    if hasattr(stage, "noise"):
        theirs.replay_buffer.add = add_and_reset
    with monkeypatch.context() as patch:
        patch.setattr(torch.distributions.normal, "_standard_normal", standard_normal(noise))
        patch.setattr(torch.Tensor, "normal_", lambda self, _, std: self.copy_(next(noise) * std))
        theirs.learn(TIMESTEPS)
    while ours.counters.timesteps < TIMESTEPS:
        ours.loop.iterate()
    assert ours.counters.timesteps == theirs.num_timesteps
    assert ours.counters.updates == theirs._n_updates > 20
    assert max(differences(theirs, ours).values()) < 1e-4, differences(theirs, ours)
    rows = np.arange(ours.replay.begin, ours.replay.end)
    found = ours.replay.columns(ours.replay.begin, ours.replay.end)
    wanted = theirs.replay_buffer.rewards[rows % ours.replay.rows]
    np.testing.assert_allclose(found["reward"], wanted, rtol=1e-5, atol=1e-6)
