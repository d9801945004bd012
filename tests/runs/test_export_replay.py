"""`export-sb3` of runs with a replay of their own kind: what stable-baselines3 has of it, and what is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from stable_baselines3 import SAC, HerReplayBuffer
from stable_baselines3.her.goal_selection_strategy import GoalSelectionStrategy

from lit_rl import SAC as OurSAC
from tests.helpers import envs
from tests.runs.conftest import Cli
from tests.runs.test_off_policy import BOX, REACH, config_of, write


def exported(cli: Cli, env: dict[str, Any], **settings: Any) -> str:
    cli("fit", "--config", write(cli, config_of("SAC", env, 64, **settings)))
    return cli("export-sb3", cli.run(), "--out", "agent.zip").out


def test_hindsight_goes_on_in_stable_baselines3(cli: Cli) -> None:
    her = {"n_sampled_goal": 2, "goal_selection_strategy": "final"}
    said = exported(cli, REACH, policy="MultiInputPolicy", her=her)
    assert "her: a HerReplayBuffer, which needs the environment: SAC.load(path, env=env)" in said
    env = envs.Reach(dimensions=2, max_steps=9)
    theirs = SAC.load("agent.zip", env=env, device="cpu")
    buffer = theirs.replay_buffer
    assert isinstance(buffer, HerReplayBuffer)
    assert (buffer.n_sampled_goal, buffer.goal_selection_strategy) == (2, GoalSelectionStrategy.FINAL)
    assert buffer.buffer_size == 10_000
    ours = OurSAC.load_from_checkpoint(cli.run())
    drawn = [env.observation_space.sample() for _ in range(3)]
    obs = {key: np.stack([each[key] for each in drawn]) for key in drawn[0]}
    np.testing.assert_allclose(theirs.predict(obs, deterministic=True)[0], ours.policy_actions(obs), atol=1e-6)
    theirs.learn(60)
    without = {"replay_buffer_class": None, "replay_buffer_kwargs": {}}
    assert SAC.load("agent.zip", custom_objects=without, device="cpu").predict(obs)[0].shape == (3, 2)


def test_it_comes_back(cli: Cli) -> None:
    exported(cli, REACH, policy="MultiInputPolicy", her=True)
    cli("import-sb3", "agent.zip", "--env", "Pendulum-v1", "--out", "again.yaml")
    text = (cli.cwd / "again.yaml").read_text()
    assert "goal_selection_strategy: future" in text
    assert "n_sampled_goal: 4" in text


@pytest.mark.parametrize(
    ("env", "settings", "said"),
    [
        (BOX, {"prioritized_replay": True}, "prioritized_replay: stable-baselines3 samples every transition alike"),
        (
            {**BOX, "class_path": envs.PATH + "NoisyBoxDict"},
            {"policy": "MultiInputPolicy", "n_steps": 3},
            "n_steps: stable-baselines3 has no n-step returns of Dict observations",
        ),
    ],
)
def test_what_it_has_not_is_said(cli: Cli, env: dict[str, Any], settings: dict[str, Any], said: str) -> None:
    assert f"not carried over: {said}" in exported(cli, env, **settings)
    theirs = SAC.load("agent.zip", device="cpu")
    assert theirs.n_steps == 1
