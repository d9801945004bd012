"""A run.yaml out of other people's files, and the list of what it leaves out."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import yaml
from stable_baselines3 import DDPG, DQN, PPO, SAC, TD3

from lit_rl.cli.dispatch import run_command
from lit_rl.errors import ConfigError
from lit_rl.interop.run_yaml import draft_run, find_zoo_config, read_zoo_beside
from lit_rl.interop.sb3 import read_agent
from lit_rl.interop.vecnormalize import find_vecnormalize, read_vecnormalize
from lit_rl.interop.wrappers import translate
from lit_rl.interop.zoo import read_zoo


def test_the_published_pendulum_agent(pendulum: Path) -> None:
    agent = read_agent(pendulum)
    stats_path, _ = find_vecnormalize(pendulum)
    assert stats_path is not None
    draft = draft_run(agent, read_vecnormalize(stats_path), stats_path, read_zoo_beside(agent))
    assert yaml.safe_load(draft.to_yaml()) == draft.config
    assert draft.config == {
        "mode": "warmstart",
        "name": "a2c-Pendulum-v1",
        "seed_everything": 0,
        "total_timesteps": 1_000_000,
        "warmstart": {
            "checkpoint": str(pendulum),
            "load": ["policy", "value", "obs_moments", "reward_moments"],
            "on_mismatch": "error",
            "vecnormalize": str(stats_path),
        },
        "env": {
            "id": "Pendulum-v1",
            "n_envs": 8,
            "normalize": {
                "obs": True,
                "reward": True,
                "clip_obs": 10.0,
                "clip_reward": 10.0,
                "gamma": 0.99,
                "epsilon": 1e-8,
            },
        },
        "model": {
            "class_path": "A2C",
            "init_args": {
                "policy": "MlpPolicy",
                "ent_coef": 0.0,
                "gae_lambda": 0.9,
                "gamma": 0.99,
                "learning_rate": "lin_7e-4",
                "max_grad_norm": 0.5,
                "n_steps": 8,
                "normalize_advantage": False,
                "rms_prop_eps": 1e-05,
                "sde_sample_freq": -1,
                "use_rms_prop": True,
                "use_sde": True,
                "vf_coef": 0.4,
                "policy_kwargs": {"log_std_init": -2, "ortho_init": False},
            },
        },
    }
    assert {item.key for item in draft.not_carried} == {"env.normalize.reward"}
    assert draft.to_yaml().startswith("# Not carried over: ")


def test_the_published_ppo_agent(published: Path) -> None:
    path = published / "ppo/CartPole-v1_1/CartPole-v1.zip"
    agent = read_agent(path)
    draft = draft_run(agent, zoo=read_zoo_beside(agent))
    assert draft.config["model"]["init_args"] == {
        "policy": "MlpPolicy",
        "batch_size": 256,
        "clip_range": "lin_0.2",
        "ent_coef": 0.0,
        "gae_lambda": 0.8,
        "gamma": 0.98,
        "learning_rate": "lin_0.001",
        "max_grad_norm": 0.5,
        "n_epochs": 20,
        "n_steps": 32,
        "sde_sample_freq": -1,
        "use_sde": False,
        "vf_coef": 0.5,
    }
    assert draft.config["env"] == {"id": "CartPole-v1", "n_envs": 8}
    assert draft.config["warmstart"]["load"] == ["policy", "value"]
    assert draft.not_carried == ()
    alone = draft_run(agent, env_id="CartPole-v1")
    written = alone.config["model"]["init_args"]
    assert (written["learning_rate"], written["clip_range"]) == ("lin_0.001", "lin_0.2")
    assert alone.not_carried == ()


def test_an_environment_with_a_new_name(published: Path) -> None:
    agent = read_agent(published / "a2c/HalfCheetah-v3_1/best_model.zip")
    zoo = read_zoo_beside(agent)
    draft = draft_run(agent, zoo=zoo)
    assert draft.config["env"]["id"] == "HalfCheetah-v5"
    assert "HalfCheetah-v3 is HalfCheetah-v5 now" in next(i.reason for i in draft.not_carried if i.key == "env.id")
    assert draft_run(agent, zoo=zoo, env_id="HalfCheetah-v4").config["env"]["id"] == "HalfCheetah-v4"


def test_layer_sizes_come_from_the_tensors(tmp_path: Path) -> None:
    kwargs = {"net_arch": {"pi": [8], "vf": [16]}, "activation_fn": torch.nn.ReLU}
    PPO("MlpPolicy", "CartPole-v1", policy_kwargs=kwargs, n_steps=64, device="cpu").save(tmp_path / "agent.zip")
    agent = read_agent(tmp_path / "agent.zip")
    init_args = draft_run(agent, env_id="CartPole-v1").config["model"]["init_args"]
    assert init_args["policy_kwargs"] == {
        "net_arch": {"pi": [8], "vf": [16]},
        "activation_fn": "torch.nn.ReLU",
    }
    agent.policy_kwargs.pop("net_arch")
    assert (
        draft_run(agent, env_id="CartPole-v1").config["model"]["init_args"]["policy_kwargs"]
        == init_args["policy_kwargs"]
    )
    assert draft_run(agent, env_id="CartPole-v1").config["model"]["init_args"]["learning_rate"] == 0.0003


def test_moments_that_are_missing_are_said(pendulum: Path) -> None:
    draft = draft_run(read_agent(pendulum), env_id="Pendulum-v1")
    assert "normalize" not in draft.config["env"]
    assert "env.normalize" in {item.key for item in draft.not_carried}
    assert draft.config["warmstart"]["load"] == ["policy", "value"]


def test_zoo_settings_alone(tmp_path: Path) -> None:
    path = tmp_path / "ppo.yml"
    path.write_text(
        "PongNoFrameskip-v4:\n  env_wrapper:\n  - stable_baselines3.common.atari_wrappers.AtariWrapper\n"
        "  - a.Skip: {n: 2}\n  frame_stack: 4\n  policy: CnnPolicy\n  n_timesteps: 1e7\n  n_envs: 8\n"
        "  learning_rate: lin_2.5e-4\n  env_kwargs: {x: 1}\n"
        "  normalize: dict(norm_obs=False, norm_reward=True)\n  gamma: 0.9\n"
    )
    config = draft_run(zoo=read_zoo(path, "PongNoFrameskip-v4")).config
    assert config["mode"] == "fresh"
    assert config["total_timesteps"] == 10_000_000
    assert config["env"] == {
        "id": "PongNoFrameskip-v4",
        "n_envs": 8,
        "kwargs": {"x": 1},
        "atari": True,
        "wrappers": [{"class_path": "a.Skip", "init_args": {"n": 2}}],
        "frame_stack": 4,
        "normalize": {"obs": False, "reward": True, "gamma": 0.9},
    }
    assert config["model"]["init_args"] == {
        "policy": "CnnPolicy",
        "gamma": 0.9,
        "learning_rate": "lin_2.5e-4",
    }


def test_a2c_settings_alone_are_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a2c.yml"
    path.write_text("CartPole-v1:\n  n_envs: 8\n  policy: MlpPolicy\n  n_timesteps: 1000\n  use_rms_prop: false\n")
    draft = draft_run(zoo=read_zoo(path, "CartPole-v1", "a2c"))
    model = draft.config["model"]
    assert model == {"class_path": "A2C", "init_args": {"policy": "MlpPolicy", "use_rms_prop": False}}
    assert draft.not_carried == ()


def test_mistakes(tmp_path: Path, pendulum: Path) -> None:
    with pytest.raises(ConfigError, match="--env"):
        draft_run(read_agent(pendulum))
    SAC("MlpPolicy", "Pendulum-v1", buffer_size=10, device="cpu").save(tmp_path / "agent.zip")
    unknown = dataclasses.replace(read_agent(tmp_path / "agent.zip"), algorithm="tqc")
    with pytest.raises(ConfigError, match="'tqc'"):
        draft_run(unknown, env_id="Pendulum-v1")
    assert find_zoo_config(tmp_path / "agent.zip") is None


SMALL = {"net_arch": [16]}
OFF_POLICY = {
    "dqn": (DQN, "CartPole-v1", {"policy_kwargs": SMALL, "train_freq": (2, "episode"), "exploration_fraction": 0.3}),
    "sac": (SAC, "Pendulum-v1", {"policy_kwargs": {"net_arch": {"pi": [16], "qf": [24, 24]}}, "ent_coef": "auto_0.2"}),
    "td3": (TD3, "Pendulum-v1", {"policy_delay": 3, "tau": 0.01}),
    "ddpg": (DDPG, "Pendulum-v1", {"policy_kwargs": SMALL, "gradient_steps": 2}),
}


@pytest.mark.parametrize("name", OFF_POLICY)
def test_an_off_policy_agent_starts_a_run_of_its_kind(tmp_path: Path, name: str) -> None:
    cls, env_id, settings = OFF_POLICY[name]
    cls("MlpPolicy", env_id, buffer_size=90, device="cpu", learning_rate=2e-3, **settings).save(tmp_path / "agent.zip")
    draft = draft_run(read_agent(tmp_path / "agent.zip"), env_id=env_id)
    model = draft.config["model"]
    assert model["class_path"].lower() == name
    written = model["init_args"]
    assert (written["buffer_size"], written["learning_rate"]) == (90, 2e-3)
    for key, value in settings.items():
        if key == "train_freq":  # a class of its own in the file
            assert written[key] == list(value)
        elif key != "policy_kwargs":
            assert written[key] == value
    assert written.get("policy_kwargs", {}).get("net_arch") == settings.get("policy_kwargs", {}).get("net_arch")


def test_noise_and_frequencies_of_the_zoo(tmp_path: Path) -> None:
    path = tmp_path / "td3.yml"
    path.write_text(
        "Pendulum-v1:\n  policy: MlpPolicy\n  noise_type: normal\n  noise_std: 0.1\n  train_freq: [1, episode]\n"
        "  gradient_steps: -1\n"
    )
    model = draft_run(zoo=read_zoo(path, "Pendulum-v1", "td3")).config["model"]["init_args"]
    assert (model["noise_type"], model["noise_std"]) == ("normal", 0.1)
    assert (model["train_freq"], model["gradient_steps"]) == ([1, "episode"], -1)


def test_comments_stay_comments(tmp_path: Path) -> None:
    """What a file calls its settings cannot become a line of the run.yaml."""
    path = tmp_path / "ppo.yml"
    path.write_text('A-v0:\n  policy: MlpPolicy\n  "x\\nmode: resume\\u2028": 1\n')
    draft = draft_run(zoo=read_zoo(path, "A-v0"))
    assert yaml.safe_load(draft.to_yaml()) == draft.config


ZOO_OF_OWN_CLASSES = """
CartPole-v1:
  env_wrapper:
    - rl_zoo3.wrappers.FrameSkip:
        skip: 2
    - gymnasium.wrappers.transform_observation.FlattenObservation
  vec_env_wrapper:
    stable_baselines3.common.vec_env.VecFrameStack: {n_stack: 3}
  callback: rl_zoo3.callbacks.ParallelTrainCallback
  policy: MlpPolicy
  n_steps: 16
  batch_size: 16
  n_timesteps: 32
  policy_kwargs: "dict(features_extractor_class=mine.Small, features_extractor_kwargs=dict(width=16), net_arch=[8],
    optimizer_class=th.optim.SGD, optimizer_kwargs=dict(momentum=0.5))"
"""


def test_what_is_left_out_takes_its_arguments_along_and_the_file_trains(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zoo.yml").write_text(ZOO_OF_OWN_CLASSES)
    assert run_command(["import-zoo", "zoo.yml", "--env", "CartPole-v1", "--out", "run.yaml"]) == 0
    said = capsys.readouterr().out
    assert "policy_kwargs.features_extractor_class: 'mine.Small' is no class of PyTorch" in said
    assert "policy_kwargs.features_extractor_kwargs: {'width': 16} are arguments of the class that is left out" in said
    assert "rl_zoo3.wrappers.FrameSkip is the RL Zoo's own; use gymnasium.wrappers.RepeatAction" in said
    assert "callback: callbacks here are Lightning's, in trainer.callbacks" in said
    written = yaml.safe_load((tmp_path / "run.yaml").read_text())
    assert written["env"]["wrappers"] == [{"class_path": "gymnasium.wrappers.FlattenObservation"}]
    assert written["env"]["frame_stack"] == 3
    kwargs = {"net_arch": [8], "optimizer_class": "torch.optim.SGD", "optimizer_kwargs": {"momentum": 0.5}}
    assert written["model"]["init_args"]["policy_kwargs"] == kwargs
    assert run_command(["fit", "--config", "run.yaml"]) == 0


@pytest.mark.parametrize(
    ("path", "here", "reason"),
    [
        ("rl_zoo3.wrappers.MaskVelocityWrapper", None, "use lit_rl.envs.wrappers.hidden.Hidden"),
        ("rl_zoo3.wrappers.HistoryWrapper", None, "env.frame_stack"),
        ("utils.wrappers.TimeFeatureWrapper", None, "sb3_contrib.common.wrappers.TimeFeatureWrapper"),
        ("gym.wrappers.gray_scale_observation.GrayScaleObservation", "gymnasium.wrappers.GrayscaleObservation", ""),
        ("gym.wrappers.TimeAwareObservatoin", None, "Did you mean 'TimeAwareObservation'?"),
        ("mine.Wrapper", "mine.Wrapper", ""),
    ],
)
def test_the_zoos_wrappers(path, here, reason):
    found, why = translate(path)
    assert found == here
    assert reason in why
