"""Train stable-baselines3 with the settings of one of our configurations, and evaluate it as `lit-rl test` does.

What a run of ours is compared with, where no figure is published for the environment's version:

    python benchmarks/sb3_beside.py --config configs/halfcheetah_ppo.yaml --seed 1 --episodes 100
"""

from __future__ import annotations

import argparse
import functools
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import yaml
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from lit_rl.algorithms import algorithms
from lit_rl.envs.build import import_class
from lit_rl.envs.config import EnvConfig
from lit_rl.interop.settings import kinds, sb3_class
from lit_rl.networks.kwargs import resolve_policy_kwargs
from lit_rl.networks.policies import policy_class
from lit_rl.ops.schedules import as_schedule

NOISES = {"normal": NormalActionNoise, "ornstein-uhlenbeck": OrnsteinUhlenbeckActionNoise}


def their_model(config: dict[str, Any], seed: int) -> tuple[BaseAlgorithm, VecEnv]:
    """Their algorithm of the same name with the settings of `config`, and its environments."""
    name, given = config["model"]["class_path"], config["model"]["init_args"]
    ours, known = algorithms()[name], kinds(algorithms()[name])
    settings = {key: value for key, value in given.items() if key in known}
    settings |= {key: as_schedule(value, key) for key, value in settings.items() if known[key] == "schedule"}
    policy = given.get("policy", "MlpPolicy")
    settings["policy_kwargs"] = resolve_policy_kwargs(given.get("policy_kwargs"), policy_class(policy, ours.POLICIES))
    env = EnvConfig.from_plain(config["env"])
    made: Any = env.id or import_class(env.class_path or "", "env.class_path")
    envs: VecEnv = make_vec_env(
        made, env.n_envs, seed=seed, env_kwargs=env.kwargs, wrapper_class=functools.partial(_wrapped, env)
    )
    normalize = config["env"].get("normalize", {})
    if normalize:
        gamma = settings.get("gamma", 0.99)
        envs = VecNormalize(envs, norm_obs=normalize["obs"], norm_reward=normalize["reward"], gamma=gamma)
    if "noise_type" in given:
        ones = np.ones(envs.action_space.shape or ())
        settings["action_noise"] = NOISES[given["noise_type"]](mean=0.0 * ones, sigma=given["noise_std"] * ones)
    return sb3_class(ours)(policy, envs, seed=seed, device="cpu", **settings), envs


def _wrapped(config: EnvConfig, env: Any) -> Any:
    for wrapper in config.wrappers:
        env = import_class(wrapper.class_path, "env.wrappers")(env, **wrapper.init_args)
    return env


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--episodes", type=int, default=100)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = yaml.safe_load(Path(arguments.config).read_text())
    model, envs = their_model(config, arguments.seed)
    start = time.monotonic()
    model.learn(config["total_timesteps"])
    minutes = (time.monotonic() - start) / 60
    if isinstance(envs, VecNormalize):
        envs.training = envs.norm_reward = False
    mean, std = evaluate_policy(model, envs, n_eval_episodes=arguments.episodes, deterministic=True)
    print(f"stable-baselines3, {arguments.config}, seed {arguments.seed}: {mean:.1f} +- {std:.1f} over "
          f"{arguments.episodes} episodes, trained in {minutes:.1f} minutes")  # fmt: skip


if __name__ == "__main__":
    main()
