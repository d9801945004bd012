"""What files of the RL Zoo and of stable-baselines3 say of a replay, and what it is here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from stable_baselines3 import DQN, SAC, HerReplayBuffer
from stable_baselines3.common.buffers import ReplayBuffer

from lit_rl.cli.dispatch import run_command
from lit_rl.interop.replay_settings import replay_settings
from lit_rl.interop.run_yaml import draft_run
from lit_rl.interop.sb3 import read_agent
from lit_rl.interop.zoo import read_zoo
from tests.helpers import envs
from tests.interop.hostile import evil_entry, with_settings

ZOO = """
Goals-v0: &goals
  n_timesteps: 1000
  policy: MultiInputPolicy
  replay_buffer_class: HerReplayBuffer
  replay_buffer_kwargs: "dict(
    goal_selection_strategy='future',
    n_sampled_goal=4,
  )"

Older-v0:
  <<: *goals
  replay_buffer_kwargs: "dict(online_sampling=True, goal_selection_strategy='EPISODE', max_episode_length=100)"

Plain-v0:
  policy: MlpPolicy
  n_steps: 3
  optimize_memory_usage: False
  replay_buffer_kwargs: "dict(handle_timeout_termination=False)"

Own-v0:
  policy: MlpPolicy
  replay_buffer_class: mine.Buffer
  replay_buffer_kwargs: {size: 3}

Odd-v0:
  <<: *goals
  n_steps: 3
  replay_buffer_kwargs: {n_sampled_goal: 0, goal_selection_strategy: best, copy_info_dict: true}

Hostile-v0:
  replay_buffer_class: "__import__('os').system('touch marker')"
  replay_buffer_kwargs: "dict(n_sampled_goal=__import__('os').system('touch marker'))"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sac.yml"
    path.write_text(ZOO)
    return path


def read(file: Path, name: str, algo: str = "sac") -> tuple[dict[str, Any], dict[str, str]]:
    zoo = read_zoo(file, name, algo)
    return zoo.carried, {item.key: item.reason for item in zoo.not_carried}


def test_hindsight(file: Path) -> None:
    carried, left_out = read(file, "Goals-v0")
    assert carried == {"her": {"goal_selection_strategy": "future", "n_sampled_goal": 4}}
    assert left_out == {}
    carried, left_out = read(file, "Older-v0")
    assert carried == {"her": {"goal_selection_strategy": "episode"}}
    assert left_out.keys() == {"replay_buffer_kwargs.online_sampling", "replay_buffer_kwargs.max_episode_length"}


def test_what_a_replay_here_does_by_itself_is_listed(file: Path) -> None:
    carried, left_out = read(file, "Plain-v0")
    assert carried == {"n_steps": 3}
    assert "stores each observation once" in left_out["optimize_memory_usage"]
    assert left_out["replay_buffer_kwargs.handle_timeout_termination"].startswith(
        "what a time limit cuts off bootstraps"
    )


def test_what_is_none_here_is_listed(file: Path) -> None:
    carried, left_out = read(file, "Own-v0")
    assert carried == {}
    assert left_out["replay_buffer_class"] == "mine.Buffer is no replay buffer of stable-baselines3"
    assert left_out["replay_buffer_kwargs"] == "{'size': 3} are arguments of the class left out"
    carried, left_out = read(file, "Odd-v0")
    assert carried == {"her": True}
    assert left_out["n_steps"] == "HerReplayBuffer takes single steps (its value was 3)"
    assert left_out["replay_buffer_kwargs.n_sampled_goal"] == "'0' is none that model.her.n_sampled_goal takes"
    assert "'best' is none that model.her.goal_selection_strategy takes" in left_out.values()
    assert "compute_reward is given empty infos here" in left_out["replay_buffer_kwargs.copy_info_dict"]


def test_nothing_is_evaluated(file: Path, marker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(marker.parent)
    carried, left_out = read(file, "Hostile-v0")
    assert carried == {}
    assert "is no replay buffer of stable-baselines3" in left_out["replay_buffer_class"]
    assert "not evaluated" in left_out["replay_buffer_kwargs"]


def test_algorithms_without_a_replay_have_no_such_settings(file: Path) -> None:
    carried, left_out = read(file, "Goals-v0", "ppo")
    assert carried == {}
    assert left_out["replay_buffer_class"].startswith("PPO here has no such setting")


def test_explicit_steps_of_a_buffer() -> None:
    found = replay_settings(
        "stable_baselines3.common.buffers.NStepReplayBuffer", {"n_steps": 5, "gamma": 0.9}, None, False
    )
    assert found.carried == {"n_steps": 5}
    assert found.left_out == {}


def test_the_zoos_block_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an environment that is here."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sac.yml").write_text(ZOO)
    assert run_command(["import-zoo", "sac.yml", "--env", "Goals-v0", "--out", "run.yaml"]) == 0
    written = yaml.safe_load((tmp_path / "run.yaml").read_text())
    assert written["model"]["init_args"]["her"] == {"goal_selection_strategy": "future", "n_sampled_goal": 4}
    written["env"] = {"class_path": envs.PATH + "Reach", "kwargs": {"dimensions": 2, "max_steps": 9}}
    written["total_timesteps"] = 128
    written["model"]["init_args"] |= {"learning_starts": 60, "batch_size": 8, "policy_kwargs": {"net_arch": [8]}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(written))
    assert run_command(["fit", "--config", "run.yaml"]) == 0


def agent_of(path: Path, **settings: Any) -> Path:
    env = envs.Reach(dimensions=2, max_steps=9)
    common: dict[str, Any] = {"buffer_size": 20, "policy_kwargs": {"net_arch": [8]}, "device": "cpu"}
    SAC("MultiInputPolicy", env, **common, **settings).save(path)
    return path


def drafted(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    draft = draft_run(read_agent(path), env_id="Pendulum-v1")
    return draft.config["model"]["init_args"], {item.key: item.reason for item in draft.not_carried}


def test_an_agents_zip(tmp_path: Path) -> None:
    kwargs = {"n_sampled_goal": 2, "goal_selection_strategy": "final", "handle_timeout_termination": False}
    path = agent_of(tmp_path / "her.zip", replay_buffer_class=HerReplayBuffer, replay_buffer_kwargs=kwargs)
    model, left_out = drafted(path)
    assert model["her"] == {"n_sampled_goal": 2, "goal_selection_strategy": "final"}
    assert "bootstraps here" in left_out["replay_buffer_kwargs.handle_timeout_termination"]
    model, left_out = drafted(agent_of(tmp_path / "plain.zip"))
    assert "her" not in model
    assert not [key for key in left_out if "replay" in key or "memory" in key]


class Own(ReplayBuffer):
    """A class of somebody's own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


def test_zips_of_other_buffers(tmp_path: Path, marker: Path) -> None:
    common: dict[str, Any] = {"buffer_size": 20, "device": "cpu"}
    DQN("MlpPolicy", "CartPole-v1", replay_buffer_class=Own, **common).save(tmp_path / "own.zip")
    assert "Own is no replay buffer of stable-baselines3" in drafted(tmp_path / "own.zip")[1]["replay_buffer_class"]
    DQN("MlpPolicy", "CartPole-v1", optimize_memory_usage=True,
        replay_buffer_kwargs={"handle_timeout_termination": False}, **common).save(tmp_path / "shared.zip")  # fmt: skip
    left_out = drafted(tmp_path / "shared.zip")[1]
    assert {"optimize_memory_usage", "replay_buffer_kwargs.handle_timeout_termination"} <= left_out.keys()
    DQN("MlpPolicy", "CartPole-v1", n_steps=3, **common).save(tmp_path / "steps.zip")
    model, left_out = drafted(tmp_path / "steps.zip")
    assert model["n_steps"] == 3
    assert not [key for key in left_out if "replay" in key]
    entry = evil_entry(marker)
    hostile = with_settings(
        tmp_path / "own.zip", tmp_path / "x.zip", replay_buffer_kwargs=entry, replay_buffer_class=entry
    )
    assert "never decoded" in drafted(hostile)[1]["replay_buffer_kwargs"]
