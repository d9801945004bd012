"""The work that is done by all alike: plain data, read in every contender's process."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

CONTRIB = ("QRDQN", "TQC", "CrossQ", "TRPO", "ARS", "MaskablePPO", "RecurrentPPO")
"""Those of sb3-contrib, which beside lit_rl it alone trains here."""
OFF_POLICY = ("DQN", "SAC", "TD3", "QRDQN", "TQC", "CrossQ")


@dataclass(frozen=True)
class Work:
    """What is trained.

    Args:
        algorithm: PPO, A2C, DQN, SAC or TD3, or one of `CONTRIB`.
        env: a gymnasium id.
        settings: of the algorithm, by stable-baselines3's names; what is not there is its default.
        net_arch: widths of the hidden layers of actor, critics or Q-network; of what follows the CNN, for images.
        n_envs: environments.
        cycles: rollouts or steps with their updates in one unit of work, an iteration of lit_rl's.
        normalize: observations and rewards, as VecNormalize does.
        atari: SB3's Atari preprocessing, four frames stacked, and its CNN.
        backends: how environments may be stepped, `sync` in the process or `async` in others: each contender's better.
        cores: that the contender may use; `None` for all.
        more_policy_kwargs: beside `net_arch`.
        episode: steps of an episode, for ARS, whose rollouts are whole ones.
    """

    algorithm: str
    env: str
    settings: dict[str, Any]
    net_arch: tuple[int, ...] = (64, 64)
    n_envs: int = 1
    cycles: int = 1
    normalize: bool = False
    atari: bool = False
    backends: tuple[str, ...] = ("sync",)
    cores: int | None = 1
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    more_policy_kwargs: dict[str, Any] = field(default_factory=dict)
    episode: int = 0

    @property
    def unit(self) -> int:
        """Timesteps of a unit of work."""
        if self.episode:
            return 2 * int(self.settings["n_delta"]) * self.episode * self.cycles
        steps = self.settings["train_freq"] if self.off_policy else self.settings["n_steps"] * self.n_envs
        return int(steps) * self.cycles

    @property
    def off_policy(self) -> bool:
        return self.algorithm in OFF_POLICY

    @property
    def first(self) -> int:
        """Units before the clock starts: the last of them has learned."""
        return 1 + math.ceil(self.settings.get("learning_starts", 0) / self.unit)

    @property
    def gradient_steps(self) -> int:
        """Gradient steps of a unit of work."""
        if self.off_policy:
            return int(self.settings["gradient_steps"]) * self.cycles
        if self.algorithm in ("A2C", "ARS"):
            return self.cycles
        if self.algorithm == "TRPO":  # the critic's, and the actor's one
            return int(self.settings["n_critic_updates"]) * math.ceil(self.unit / self.settings["batch_size"]) + 1
        return int(self.settings["n_epochs"]) * math.ceil(self.unit / self.settings["batch_size"])

    @property
    def batch_size(self) -> int:
        return int(self.settings.get("batch_size", self.unit // self.cycles))

    @property
    def policy(self) -> str:
        if self.algorithm == "RecurrentPPO":
            return "MlpLstmPolicy"
        return "CnnPolicy" if self.atari else "MlpPolicy" if self.net_arch else "LinearPolicy"

    @property
    def policy_kwargs(self) -> dict[str, Any]:
        """For stable-baselines3, SBX and lit_rl; the CNN has no hidden layer behind it."""
        return {} if self.atari or not self.net_arch else {"net_arch": list(self.net_arch), **self.more_policy_kwargs}


SHORT = {"n_steps": 128, "n_epochs": 4}
CHEETAH = {"n_steps": 256, "batch_size": 256, "n_epochs": 10}
STEPWISE = {"train_freq": 1, "gradient_steps": 1, "batch_size": 256, "learning_starts": 100}

WORKS: dict[str, Work] = {
    "ppo_cartpole_8": Work("PPO", "CartPole-v1", {**SHORT, "batch_size": 256}, n_envs=8),
    "ppo_cartpole_64": Work("PPO", "CartPole-v1", {**SHORT, "batch_size": 2048}, n_envs=64),
    "ppo_halfcheetah": Work("PPO", "HalfCheetah-v5", CHEETAH, n_envs=8, normalize=True),
    "ppo_halfcheetah_all_cores": Work(
        "PPO", "HalfCheetah-v5", CHEETAH, n_envs=8, normalize=True, backends=("sync", "async"), cores=None
    ),
    "ppo_pong": Work(  # the RL Zoo's settings for Atari
        "PPO", "ALE/Pong-v5",
        {**SHORT, "batch_size": 256, "learning_rate": 2.5e-4, "clip_range": 0.1, "ent_coef": 0.01},
        net_arch=(), n_envs=8, atari=True, env_kwargs={"frameskip": 1, "repeat_action_probability": 0.0},
    ),
    "a2c_cartpole": Work("A2C", "CartPole-v1", {"n_steps": 5}, n_envs=8, cycles=50),
    "dqn_cartpole": Work(  # stable-baselines3's defaults
        "DQN", "CartPole-v1",
        {
            "batch_size": 32, "learning_starts": 100, "train_freq": 4, "gradient_steps": 1,
            "target_update_interval": 10_000,
        },
        cycles=64,
    ),
    "dqn_cartpole_zoo": Work(  # the RL Zoo's, but that learning starts early
        "DQN", "CartPole-v1",
        {
            "learning_rate": 2.3e-3, "batch_size": 64, "buffer_size": 100_000, "learning_starts": 200,
            "train_freq": 256, "gradient_steps": 128, "target_update_interval": 10,
        },
        net_arch=(256, 256),
    ),
    "sac_pendulum": Work("SAC", "Pendulum-v1", {**STEPWISE, "learning_rate": 1e-3}, (256, 256), cycles=64),
    "sac_halfcheetah": Work("SAC", "HalfCheetah-v5", {**STEPWISE, "learning_rate": 3e-4}, (256, 256), cycles=64),
    "td3_pendulum": Work("TD3", "Pendulum-v1", {**STEPWISE, "learning_rate": 1e-3}, (400, 300), cycles=64),
    "qrdqn_cartpole_zoo": Work(  # as DQN's
        "QRDQN", "CartPole-v1",
        {
            "learning_rate": 2.3e-3, "batch_size": 64, "buffer_size": 100_000, "learning_starts": 200,
            "train_freq": 256, "gradient_steps": 128, "target_update_interval": 10,
        },
        net_arch=(256, 256), more_policy_kwargs={"n_quantiles": 10},
    ),
    "qrdqn_cartpole": Work(  # sb3-contrib's defaults
        "QRDQN", "CartPole-v1",
        {
            "batch_size": 32, "learning_starts": 100, "train_freq": 4, "gradient_steps": 1,
            "target_update_interval": 10_000,
        },
        cycles=64,
    ),
    "tqc_pendulum": Work("TQC", "Pendulum-v1", {**STEPWISE, "learning_rate": 1e-3}, (256, 256), cycles=64),
    "crossq_pendulum": Work("CrossQ", "Pendulum-v1", {**STEPWISE, "policy_delay": 2}, (256, 256), cycles=64),
    "trpo_cartpole": Work(  # the RL Zoo's settings, as all that follow
        "TRPO", "CartPole-v1",
        {
            "n_steps": 512, "batch_size": 512, "cg_damping": 1e-3, "gae_lambda": 0.98, "learning_rate": 1e-3,
            "n_critic_updates": 20,
        },
        n_envs=2,
    ),
    "trpo_halfcheetah": Work(
        "TRPO", "HalfCheetah-v5",
        {
            "n_steps": 1024, "batch_size": 128, "cg_max_steps": 25, "n_critic_updates": 20, "learning_rate": 1e-3,
            "target_kl": 0.04,
        },
        n_envs=2, normalize=True,
    ),
    "recurrentppo_cartpole": Work(
        "RecurrentPPO", "contenders.tasks:CartPoleNoVel-v1",
        {"n_steps": 32, "batch_size": 256, "n_epochs": 20, "learning_rate": 1e-3, "gae_lambda": 0.8, "gamma": 0.98},
        n_envs=8, normalize=True, more_policy_kwargs={"lstm_hidden_size": 64},
    ),
    "recurrentppo_defaults": Work(  # sb3-contrib's, with 8 environments
        "RecurrentPPO", "contenders.tasks:CartPoleNoVel-v1", {"n_steps": 128, "batch_size": 128, "n_epochs": 10},
        n_envs=8,
    ),
    "maskableppo_tour": Work(
        "MaskablePPO", "contenders.tasks:Tour-v0", {"n_steps": 256, "batch_size": 256, "n_epochs": 10},
        net_arch=(128, 128), n_envs=8,
    ),
    "ars_pendulum": Work(
        "ARS", "Pendulum-v1",
        {"n_delta": 4, "n_top": 1, "learning_rate": 0.018, "delta_std": 0.1, "zero_policy": False},
        net_arch=(16,), cycles=4, episode=200,
    ),
    "ars_halfcheetah": Work(  # with fewer directions, and observations as they are
        "ARS", "HalfCheetah-v5", {"n_delta": 4, "n_top": 4, "learning_rate": 0.02, "delta_std": 0.03},
        net_arch=(), episode=1000,
    ),
}  # fmt: skip
"""By name; learning starts early in all of them, so that short runs measure learning."""

TRANSITIONS = 8192
SCALING: dict[str, Work] = {
    f"ppo_cartpole_{n}_envs": Work(
        "PPO", "CartPole-v1",
        {"n_steps": TRANSITIONS // n, "batch_size": 2048, "n_epochs": 4},
        n_envs=n,
    )
    for n in (1, 4, 16, 64, 256, 1024)
}  # fmt: skip
"""A rollout keeps its number of transitions: more environments, fewer steps of each."""
