"""What a run of stable-baselines3 was set to is what it goes on with here."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.callbacks import CheckpointCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import FakeImageEnv
from stable_baselines3.common.vec_env import VecNormalize

from lit_rl.checkpoint.reader import load_lightning
from lit_rl.state.plain import first_difference
from tests.helpers.cli import checkpoints, final_state
from tests.helpers.envs import Reach
from tests.runs.conftest import Cli

BUFFER: dict[str, Any] = {"buffer_size": 200, "learning_starts": 10, "batch_size": 8, "device": "cpu"}


def adopted(cli: Cli, model: Any, folder: Path, steps: int = 40, total: int = 100, *words: Any) -> dict[str, Any]:
    """The settings of the run that goes on with a model of stable-baselines3."""
    model.learn(steps)
    model._total_timesteps = total
    folder.mkdir(exist_ok=True)
    model.save(folder / "agent.zip")
    if hasattr(model, "save_replay_buffer"):
        model.save_replay_buffer(folder / "agent_replay_buffer.pkl")
    cli("adopt", folder, "--out", "lightning_logs/run", "--env", model.get_env().envs[0].spec.id, *words)
    config: dict[str, Any] = yaml.safe_load((cli.run() / "config.yaml").read_text())
    return config


def test_networks_of_actor_and_critic_apart(cli: Cli) -> None:
    layers = {"pi": [4], "qf": [6, 5]}
    model = SAC("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": layers}, **BUFFER)
    assert adopted(cli, model, cli.cwd / "logs")["model"]["init_args"]["policy_kwargs"]["net_arch"] == layers


def test_targets_move_as_often_as_there(cli: Cli) -> None:
    """stable-baselines3's SAC counts gradient steps from each call, and one draw of its DQN is for all environments."""
    model = SAC("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [4]}, target_update_interval=3, **BUFFER)
    own = adopted(cli, model, cli.cwd / "logs")["model"]["init_args"]
    assert (own["target_update_interval"], own["target_update_per_call"]) == (3, True)
    words = ("fit", "--config", cli.run() / "config.yaml", "--resume.fork", "true")
    message = cli.error(*words, "--model.target_update_per_call", "false")
    assert "model.target_update_per_call  True  False" in message
    cli.cwd.joinpath("lightning_logs").rename(cli.cwd / "away")
    model = DQN("MlpPolicy", make_vec_env("CartPole-v1", 2), policy_kwargs={"net_arch": [4]}, **BUFFER)
    assert adopted(cli, model, cli.cwd / "dqn")["model"]["init_args"]["share_exploration"] is True


def test_a_target_that_was_due_when_the_zip_was_saved_moves(cli: Cli) -> None:
    """CheckpointCallback comes before the target of the same step; both are every 10,000 timesteps by themselves."""
    logs = cli.cwd / "logs"
    model = DQN("MlpPolicy", make_vec_env("CartPole-v1", 2), policy_kwargs={"net_arch": [4]}, train_freq=2,
                target_update_interval=40, **BUFFER)  # fmt: skip
    model.learn(100, callback=CheckpointCallback(20, str(logs), save_replay_buffer=True))
    (logs / "rl_model_80_steps.zip").rename(cli.cwd / "later.zip")
    theirs = DQN.load(logs / "rl_model_40_steps.zip").policy.state_dict()
    cli("adopt", logs, "--out", "lightning_logs/run", "--env", "CartPole-v1")
    assert yaml.safe_load((cli.run() / "config.yaml").read_text())["checkpoint"]["every_timesteps"] == 40
    ours = load_lightning(checkpoints(cli.run())[-1])["state_dict"]
    for name, tensor in theirs.items():
        if name.startswith("q_net."):
            assert torch.equal(ours[f"policy.{name}"], tensor)
            assert torch.equal(ours[f"policy.{name.replace('q_net', 'q_net_target', 1)}"], tensor), name
            assert tensor.ndim == 1 or not torch.equal(theirs[name.replace("q_net", "q_net_target", 1)], tensor)


def test_an_environment_that_is_a_class(cli: Cli) -> None:
    """Dict observations of which a part is normalised."""
    venv = VecNormalize(make_vec_env(Reach, 2), norm_obs_keys=["observation"])
    model = PPO("MultiInputPolicy", venv, n_steps=8, batch_size=8, n_epochs=1, policy_kwargs={"net_arch": [4]})
    model.learn(16)
    model.save(cli.cwd / "agent.zip")
    venv.save(str(cli.cwd / "agent_vecnormalize.pkl"))
    cli("adopt", "agent.zip", "--out", "lightning_logs/run", "--env", "tests.helpers.envs:Reach")
    env = yaml.safe_load((cli.run() / "config.yaml").read_text())["env"]
    assert (env["class_path"], env["normalize"]["keys"]) == ("tests.helpers.envs:Reach", ["observation"])
    cli("fit", "--config", cli.run() / "config.yaml", "--resume.additional_timesteps", 16)


def test_the_pictures_of_atari_games(cli: Cli) -> None:
    pytest.importorskip("ale_py")
    model = PPO("CnnPolicy", FakeImageEnv(2, 84, 84, n_channels=4), n_steps=8, batch_size=8)
    model.save(cli.cwd / "agent.zip")
    for words in ("--env", "PongNoFrameskip-v4"), ("--env", "ALE/Pong-v5"):
        cli("import-sb3", "agent.zip", "--out", f"{words[1][-2:]}.yaml", *words)
        env = yaml.safe_load((cli.cwd / f"{words[1][-2:]}.yaml").read_text())["env"]
        assert env == {"id": words[1], "n_envs": 1, "atari": True}


@pytest.mark.parametrize(
    ("algorithm", "layers", "text"),
    [
        ("DQN", {"pi": [4], "vf": [4]}, "net_arch: is one list of widths, such as [64, 64]."),
        ("SAC", {"pi": [4]}, "net_arch.qf is missing; it takes pi and qf."),
        ("TD3", {"pi": [4], "vf": [4]}, "net_arch: unknown key 'vf'; it takes pi and qf."),
        ("PPO", {"pi": [4], "qf": [4]}, "net_arch: unknown key 'qf'; it takes pi and vf."),
    ],
)
def test_layers_that_an_algorithm_has_not(cli: Cli, algorithm: str, layers: dict[str, Any], text: str) -> None:
    env = "CartPole-v1" if algorithm == "DQN" else "Pendulum-v1"
    model = {"class_path": algorithm, "init_args": {"policy_kwargs": {"net_arch": layers}}}
    path = cli.cwd / "run.yaml"
    path.write_text(yaml.safe_dump({"env": {"id": env}, "model": model}))
    assert cli.error("fit", "--config", path) == f"model.policy_kwargs.{text}"


def test_the_target_is_what_learn_was_told_and_not_the_zoos(cli: Cli) -> None:
    """`rl_zoo3.train -n 100` leaves the n_timesteps of its hyperparameters in config.yml."""
    folder = cli.cwd / "logs"
    (folder / "agent").mkdir(parents=True)
    block = (
        "!!python/object/apply:collections.OrderedDict\n- - - n_timesteps\n    - 60.0\n  - - policy\n    - MlpPolicy\n"
    )
    (folder / "agent" / "config.yml").write_text(block)
    model = TD3("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [4]}, **BUFFER)
    assert adopted(cli, model, folder)["total_timesteps"] == 100


def test_evaluations_go_on_as_often(cli: Cli) -> None:
    folder = cli.cwd / "logs"
    folder.mkdir()
    np.savez(folder / "evaluations.npz", timesteps=[10, 20, 50], results=np.zeros((3, 4)), ep_lengths=np.ones((3, 4)))
    model = TD3("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [4]}, **BUFFER)
    own = adopted(cli, model, folder)["eval"]
    assert (own["every"], own["episodes"]) == (10, 4)


@pytest.mark.parametrize("kind", ["DQN", "TD3"])
def test_there_and_back_nothing_drifts(cli: Cli, kind: str) -> None:
    """Counts are what targets and delayed policies go by."""
    made = {"DQN": DQN, "TD3": TD3}[kind]
    env = "CartPole-v1" if kind == "DQN" else "Pendulum-v1"
    model = made("MlpPolicy", env, policy_kwargs={"net_arch": [4]}, train_freq=1, learning_rate=1e-3, **BUFFER)
    config = adopted(cli, model, cli.cwd / "logs", 230, 300)
    cli("export", cli.run(), "--format", "sb3", "--out", "back.zip")
    back = made.load("back.zip", device="cpu")
    for name in ("num_timesteps", "_n_updates", "_episode_num", "_total_timesteps"):
        assert getattr(back, name) == getattr(model, name), name
    assert getattr(back, "_n_calls", None) == getattr(model, "_n_calls", None)
    episodes = [[(each["r"], each["l"]) for each in of.ep_info_buffer] for of in (back, model)]
    assert episodes[0] == episodes[1] != []
    shutil.copy(cli.cwd / "logs" / "agent_replay_buffer.pkl", cli.cwd / "back_replay_buffer.pkl")
    cli("adopt", "back.zip", "--out", "lightning_logs/again", "--env", env)
    again = yaml.safe_load((cli.run("again") / "config.yaml").read_text())
    assert again["model"] == config["model"]
    once, twice = final_state(cli.run()), final_state(cli.run("again"))
    for part in once.keys() - {"environments", "random streams"}:
        assert first_difference(once[part], twice.get(part), part) is None
