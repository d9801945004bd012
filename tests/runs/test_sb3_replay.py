"""A run begins with an agent of stable-baselines3 and its replay pickle, as SB3 and its callbacks leave it."""

from __future__ import annotations

import hashlib
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from stable_baselines3 import DQN, SAC, HerReplayBuffer
from stable_baselines3.common.callbacks import CheckpointCallback
from stable_baselines3.common.vec_env import DummyVecEnv

from tests.helpers import envs
from tests.helpers.cli import final_state, lineage
from tests.interop.hostile import Touch
from tests.runs.conftest import Cli
from tests.runs.test_off_policy import BOX, REACH, config_of, same, write

ALL = ("--mode", "warmstart", "--warmstart.load", "[policy, value, replay]")


def reach() -> Any:
    return envs.Reach(dimensions=2, max_steps=9)


def trained(folder: Path, kind: str) -> tuple[Path, dict[str, Any]]:
    """Checkpoints of an agent with their replay pickles; the newest zip, and a run's configuration that fits."""
    common: dict[str, Any] = {
        "policy_kwargs": {"net_arch": [8]},
        "buffer_size": 60,
        "learning_starts": 1000,
        "device": "cpu",
    }
    if kind == "hindsight":
        model: Any = SAC("MultiInputPolicy", reach(), replay_buffer_class=HerReplayBuffer, **common)
        config = config_of("SAC", REACH, 128, policy="MultiInputPolicy", her=True)
    elif kind == "several":
        model = SAC("MlpPolicy", DummyVecEnv([envs.NoisyBox] * 2), **common)
        config = config_of("SAC", {**BOX, "n_envs": 2}, 128)
    else:
        model = DQN("MlpPolicy", "CartPole-v1", optimize_memory_usage=True,
                    replay_buffer_kwargs={"handle_timeout_termination": False}, **common)  # fmt: skip
        config = config_of("DQN", {"id": "CartPole-v1"}, 128)
    model.learn(100, callback=CheckpointCallback(40, str(folder), "model", save_replay_buffer=True))
    return sorted(folder.glob("model_*_steps.zip"))[-1], config


@pytest.mark.parametrize("kind", ["hindsight", "several", "without time limits"])
def test_it_begins_with_it_and_is_exact(cli: Cli, kind: str) -> None:
    folder = cli.cwd / "sb3"
    agent, over = trained(folder, kind)
    config = write(cli, over)
    words = ("fit", "--config", config, *ALL, "--warmstart.checkpoint", agent)
    said = cli(*words, "--name", "straight").out
    steps = agent.stem.split("_")[1]
    assert f"replay: from {folder / f'model_replay_buffer_{steps}_steps.pkl'}" in said
    assert "transitions loaded" in said
    parents = lineage(cli.run("straight"))["parents"]
    assert [Path(each["path"]).suffix for each in parents] == [".zip", ".pkl"]
    assert parents[1]["sha256"] == hashlib.sha256(Path(parents[1]["path"]).read_bytes()).hexdigest()
    assert ("without handle_timeout_termination" in said) == (kind == "without time limits")
    cli(*words, "--name", "stopped", "--pause_at", 20, expect=75)
    shutil.rmtree(folder)
    cli("fit", "--config", config, "--name", "stopped", "--mode", "resume")
    same(cli.run("stopped"), cli.run("straight"))
    state = final_state(cli.run("straight"))["replay"]
    assert state["begin"] < 0
    assert (state["columns"]["level"] == 0).all()


def test_a_pickle_by_its_path_beside_any_checkpoint(cli: Cli) -> None:
    """Also beside one of ours."""
    agent, over = trained(cli.cwd / "sb3", "several")
    pkl = next((cli.cwd / "sb3").glob("*40_steps.pkl" if "40" in agent.stem else "*.pkl"))
    config = write(cli, over)
    cli("fit", "--config", config, "--name", "ours")
    words = ("fit", "--config", config, *ALL, "--warmstart.checkpoint", cli.run("ours"), "--warmstart.replay", pkl)
    done = cli(*words, "--name", "warm", "--total_timesteps", 16)
    assert f"replay: from {pkl} (ReplayBuffer)" in done.out
    with open(pkl, "rb") as file:
        theirs = pickle.load(file)
    rewards = np.concatenate([theirs.rewards[theirs.pos :], theirs.rewards[: theirs.pos]])
    rewards = rewards if theirs.full else theirs.rewards[: theirs.pos]
    ours = final_state(cli.run("warm"))["replay"]["columns"]["reward"]
    np.testing.assert_array_equal(ours[: len(rewards)], rewards)
    alone = ("--warmstart.load", "[policy]")
    assert "warmstart.load does not name replay" in cli.error(*words, *alone)
    assert "nowhere.pkl is no file" in cli.error(*words, "--warmstart.replay", "nowhere.pkl")


def test_what_a_user_can_get_wrong_is_one_line(cli: Cli, marker: Path) -> None:
    agent, over = trained(cli.cwd / "sb3", "several")
    config = write(cli, over)
    words = ("fit", "--config", config, *ALL, "--warmstart.checkpoint", agent)
    assert "is of 2 environments, and env.n_envs is 1; set env.n_envs: 2" in cli.error(*words, "--env.n_envs", 1)
    rescale = "{class_path: gymnasium.wrappers.RescaleAction, init_args: {min_action: -3, max_action: 3}}"
    assert "are stored as shares of their bounds" in cli.error(*words, "--env.wrappers", f"[{rescale}]")
    pkl = next((cli.cwd / "sb3").glob(f"*replay_buffer_{agent.stem.split('_')[1]}_steps.pkl"))
    whole = pkl.read_bytes()
    pkl.write_bytes(whole[:-1000])
    assert "is not a pickle we can read" in cli.error(*words, expect=65)
    pkl.write_bytes(pickle.dumps(Touch(marker)))
    assert "refused to import" in cli.error(*words, expect=65)
    pkl.unlink()
    assert "is at none of" in cli.error(*words)


def test_dqn_of_other_actions(cli: Cli) -> None:
    agent, over = trained(cli.cwd / "sb3", "without time limits")
    other = {**over, "env": {"id": "Acrobot-v1", "n_envs": 1, "backend": "sync"}}
    config = cli.cwd / "run.yaml"
    config.write_text(yaml.safe_dump(other))
    words = ("--mode", "warmstart", "--warmstart.load", "[replay]", "--warmstart.checkpoint", agent)
    assert "'obs' is float32 [4] in" in cli.error("fit", "--config", config, *words)
