"""Runs of stable-baselines3 as a user's script leaves them, short."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, CheckpointCallback, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from tests.runs.conftest import Cli

HALF, WHOLE = 256, 512
"""Timesteps after which a run is left, and those that it was told to train."""
KINDS: dict[str, Any] = {"PPO": PPO, "A2C": A2C, "DQN": DQN, "SAC": SAC, "TD3": TD3, "DDPG": DDPG}
_BUFFER: dict[str, Any] = {"buffer_size": 400, "learning_starts": 50, "batch_size": 16, "train_freq": 2}
SETTINGS: dict[str, dict[str, Any]] = {
    "PPO": {"n_steps": 32, "batch_size": 32, "n_epochs": 2, "clip_range": LinearSchedule(0.2, 0.1, 0.5)},
    "A2C": {"n_steps": 8},
    "DQN": {**_BUFFER, "target_update_interval": 30, "exploration_fraction": 0.8},
    "SAC": _BUFFER,
    "TD3": _BUFFER,
    "DDPG": _BUFFER,
}
ON_POLICY = ("PPO", "A2C")
if importlib.util.find_spec("sb3_contrib") is not None:
    import sb3_contrib

    KINDS |= {kind: getattr(sb3_contrib, kind) for kind in ("QRDQN", "TQC", "CrossQ")}
    SETTINGS |= {"QRDQN": SETTINGS["DQN"], "TQC": _BUFFER, "CrossQ": _BUFFER}


def env_of(kind: str) -> str:
    return "CartPole-v1" if kind.endswith("DQN") else "Pendulum-v1"


def venv_of(kind: str, folder: Path | None = None) -> VecEnv:
    """What the script trains on: VecNormalize where it is on-policy, monitor files in the folder."""
    monitor = None if folder is None else str(folder)
    n_envs = 2 if kind in ON_POLICY else 1
    short = {"max_episode_steps": 20}
    made = make_vec_env(env_of(kind), n_envs=n_envs, seed=3, monitor_dir=monitor, env_kwargs=short)
    return VecNormalize(made, gamma=0.99) if kind in ON_POLICY else made


@dataclass
class Trained:
    """A run that was left half way.

    Args:
        kind: its algorithm.
        folder: where its files lie.
        model: as it stands after all of its timesteps, not half.
        rates: the learning rate of each update, by timestep.
        others: clip range or exploration rate, by timestep.
    """

    kind: str
    folder: Path
    model: Any
    rates: dict[int, float] = field(default_factory=dict)
    others: dict[int, float] = field(default_factory=dict)

    @property
    def zip(self) -> Path:
        return self.folder / f"rl_model_{HALF}_steps.zip"


class Noted(BaseCallback):
    """Keeps what each update was made with, by timestep: the learning rate, and PPO's clip range."""

    def __init__(self, rates: dict[int, float], others: dict[int, float]) -> None:
        super().__init__()
        self.rates, self.others = rates, others

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        logged = self.logger.name_to_value
        if "train/learning_rate" in logged:
            self.rates[self.num_timesteps] = logged["train/learning_rate"]
        if "train/clip_range" in logged:
            self.others[self.num_timesteps] = logged["train/clip_range"]

    def _on_training_end(self) -> None:
        self._on_rollout_start()


def train(kind: str, folder: Path, **over: Any) -> Trained:
    """Train to the end, with checkpoints at half and at the end, evaluations and monitor files."""
    folder.mkdir(parents=True, exist_ok=True)
    venv = venv_of(kind, folder)
    model: Any = KINDS[kind]("MlpPolicy", venv, seed=5, device="cpu", learning_rate=LinearSchedule(1e-3, 0.0, 1.0),
                             policy_kwargs={"net_arch": [8]}, **{**SETTINGS[kind], **over})  # fmt: skip
    run = Trained(kind, folder, model)
    each = HALF // venv.num_envs
    saves = CheckpointCallback(each, str(folder), save_replay_buffer=True, save_vecnormalize=True)
    normalized = VecNormalize(make_vec_env(env_of(kind), seed=9), training=False) if kind in ON_POLICY else None
    beside = normalized or make_vec_env(env_of(kind), seed=9)
    looks = EvalCallback(beside, eval_freq=64 // venv.num_envs, n_eval_episodes=2, log_path=str(folder),
                         best_model_save_path=str(folder), verbose=0)  # fmt: skip
    model.learn(WHOLE, callback=CallbackList([saves, looks, Noted(run.rates, run.others)]))
    venv.close()
    return run


def drafted(cli: Cli, run: Trained, **over: Any) -> Path:
    """The run.yaml that goes on with it."""
    path = cli.cwd / "drafted.yaml"
    path.unlink(missing_ok=True)
    cli("import-sb3", run.zip, "--out", path, "--env", env_of(run.kind), "--mode", "resume")
    config = yaml.safe_load(path.read_text())
    config["name"] = "run"
    config["env"] |= {"max_episode_steps": 20, "backend": "sync"}
    if run.kind != "PPO":
        config["model"]["init_args"]["cycles_per_iteration"] = 1
    path.write_text(yaml.safe_dump({**config, **over}))
    return path
