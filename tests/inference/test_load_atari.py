"""`lit_rl.load` of an agent that sees stacked frames: in VecFrameStack it plays what the run plays itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack

import lit_rl
from lit_rl import PPO
from lit_rl.envs.build import make_env

BREAKOUT: dict[str, Any] = {
    "env": {"id": "ALE/Breakout-v5", "atari": True, "n_envs": 2, "kwargs": {"frameskip": 1}},
    "model": {
        "class_path": "PPO",
        "init_args": {
            "policy": "CnnPolicy",
            "n_steps": 16,
            "batch_size": 32,
            "n_epochs": 1,
            "policy_kwargs": {"features_extractor_kwargs": {"features_dim": 16}},
        },
    },
    "total_timesteps": 64,
}


@pytest.mark.slow
def test_frames_stacked_by_others_give_the_actions_of_the_run(
    trained: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over lost lives and drawn actions, so that the stacks are filled, emptied and of different frames.

    A policy that has hardly been trained does nearly the same whatever it sees, so what it sees is compared as well.
    """
    run = trained("Breakout", BREAKOUT)
    agent = lit_rl.load(run)
    module = PPO.load_from_checkpoint(agent.path)
    assert agent.n_stack == 4
    ours, _ = make_env(module.env_config)
    single, _ = make_env(dataclasses.replace(module.env_config, frame_stack=1))
    theirs = VecFrameStack(DummyVecEnv([lambda: single]), agent.n_stack)
    theirs.seed(5)
    obs, stacked = ours.reset(seed=5)[0], theirs.reset()
    own_rng, taken, lost = np.random.default_rng(3), [], 0
    agent.set_random_seed(3)
    seen: list[np.ndarray] = []
    act = agent.module.policy_step
    monkeypatch.setattr(
        agent.module, "policy_step", lambda obs, *a, **kw: (seen.append(np.array(obs)), act(obs, *a, **kw))[1]
    )
    for _ in range(300):
        policy_obs = module.normalizer.normalize_obs(np.asarray(obs)[None])
        assert agent.predict(stacked, deterministic=True)[0] == module.policy_actions(policy_obs)
        np.testing.assert_array_equal(seen[-1], policy_obs)
        drawn, _ = agent.predict(stacked)
        assert drawn == module.sample_actions(policy_obs, own_rng)
        taken.append(int(drawn[0]))
        obs, _, terminated, truncated, _ = ours.step(taken[-1])
        stacked, _, done, _ = theirs.step(drawn)
        assert bool(done[0]) == (terminated or truncated)
        if terminated or truncated:
            lost += 1
            obs, _ = ours.reset()
    assert lost > 1
    assert len(set(taken)) > 1
