"""The whole way of a user who is in the middle of a run of stable-baselines3, from his script to his script."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from lit_rl.state.plain import first_difference
from tests.helpers.cli import environment, final_state, lineage, lit_rl, metrics

SCRIPT = """
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import CheckpointCallback, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn


def linear_schedule(initial_value):
    def func(progress_remaining):
        return progress_remaining * initial_value

    return func


env = VecNormalize(make_vec_env("Pendulum-v1", n_envs=4, seed=1, monitor_dir="logs"), gamma=0.9)
eval_env = VecNormalize(make_vec_env("Pendulum-v1"), training=False, norm_reward=False)
model = PPO("MlpPolicy", env, learning_rate=linear_schedule(1e-3), n_steps=128, batch_size=128, gamma=0.9, seed=1,
            policy_kwargs=dict(net_arch=[16, 16], activation_fn=nn.ReLU), device="cpu")
model.learn(12288, callback=[
    CheckpointCallback(512, "logs", save_vecnormalize=True),
    EvalCallback(eval_env, n_eval_episodes=2, eval_freq=512, best_model_save_path="logs", log_path="logs", verbose=0),
])
"""
EDITED = """
name: pendulum
seed_everything: 1
total_timesteps: 12288
env:
  id: Pendulum-v1
  n_envs: 4
  normalize: {obs: true, reward: true, gamma: 0.9}
model:
  class_path: PPO
  init_args:
    learning_rate: lin_1e-3
    n_steps: 128
    batch_size: 128
    gamma: 0.9
    policy_kwargs: {net_arch: [16, 16], activation_fn: ReLU}
checkpoint: {every_timesteps: 2048}
eval: {every: 2048, episodes: 2}
mode: resume
resume: {checkpoint: logs}
"""
LEVELS = {
    "mode": "warmstart",
    "name": "levels",
    "total_timesteps": 2048,
    "curriculum": {
        "levels": [
            {
                "name": "light",
                "env_kwargs": {"g": 5.0},
                "promote": {"metric": "ep_rew_mean", "threshold": -1e9, "window": 4},
            },
            {"name": "earth", "env_kwargs": {"g": 10.0}},
        ]
    },
}


@pytest.mark.slow
def test_from_a_killed_script_to_one_that_trains_on(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    logs = tmp_path / "logs"
    script = subprocess.Popen([sys.executable, "script.py"], cwd=tmp_path, env=environment())
    end = time.monotonic() + 200
    while not (logs / "rl_model_8192_steps.zip").exists():
        assert script.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    script.send_signal(signal.SIGKILL)
    script.wait()

    # It goes on to its target, with what lies there and a run.yaml that he has written himself.
    (tmp_path / "run.yaml").write_text(EDITED)
    done = lit_rl("fit", "--config", "run.yaml", "--pause_at", "10000", cwd=tmp_path, expect=75)
    line = next(line for line in done.stdout.splitlines() if line.startswith("timestep:"))
    begun = int(line.split()[1].replace(",", ""))
    assert begun in range(6144, 12288)
    assert "finished" in lit_rl("fit", "--config", "run.yaml", cwd=tmp_path).stdout
    run = tmp_path / "lightning_logs" / "pendulum" / "version_0"
    rows = metrics(run)
    for row in rows:
        step = int(row["step"])
        assert float(row["train/learning_rate"]) == pytest.approx(1e-3 * (1 - step / 12288), abs=1e-15)
    with np.load(run / "evaluations.npz") as evaluations:
        made = {int(timesteps) for timesteps in evaluations["timesteps"]}
    assert set(range(2048, 12289, 2048)) - made <= {begun}  # the kill may come between that zip and its evaluation
    assert int(rows[-1]["step"]) == 12288
    assert Path(lineage(run)["parents"][0]["path"]).parent == logs

    # It is extended, with a stop in between that changes nothing.
    more = ["--resume.total_timesteps", "16384", "--resume.schedule", "stretch"]
    config = str(run / "config.yaml")
    lit_rl("fit", "--config", config, *more, "--resume.fork", "true", "--name", "straight", cwd=tmp_path)
    lit_rl("fit", "--config", config, *more, "--pause_at", "14000", cwd=tmp_path, expect=75)
    lit_rl("fit", "--config", config, *more, cwd=tmp_path)
    straight, stopped = final_state(tmp_path / "lightning_logs" / "straight" / "version_0"), final_state(run)
    assert stopped["counters"]["timesteps"] == 16384
    for name in stopped:
        assert first_difference(stopped[name], straight[name], name) is None

    # A run with levels begins with its weights.
    levels = {**yaml.safe_load(EDITED), **LEVELS, "warmstart": {"checkpoint": str(run)}}
    (tmp_path / "levels.yaml").write_text(yaml.safe_dump(levels))
    lit_rl("fit", "--config", "levels.yaml", cwd=tmp_path)
    above = tmp_path / "lightning_logs" / "levels" / "version_0"
    assert final_state(above)["curriculum"]["name"] == "earth"

    # And stable-baselines3 trains on.
    lit_rl("export", str(above), "--format", "sb3", "--out", "back.zip", cwd=tmp_path)
    venv = VecNormalize.load(str(tmp_path / "back_vecnormalize.pkl"), make_vec_env("Pendulum-v1", n_envs=4, seed=1))
    model = PPO.load(tmp_path / "back.zip", env=venv, device="cpu")
    assert model.num_timesteps == 2048
    weights = final_state(above)["policy"]
    assert all(torch.equal(weights[f"policy.{name}"], tensor) for name, tensor in model.policy.state_dict().items())
    model.learn(1024, reset_num_timesteps=False)
    assert model.num_timesteps == 3072
