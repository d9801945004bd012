"""`export-sb3`: a checkpoint as a stable-baselines3 agent."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lit_rl.algorithms import algorithms
from lit_rl.cli.quiet import quiet
from lit_rl.envs.normalize import Moments as RunningMoments
from lit_rl.errors import EXIT_OK, ConfigError
from lit_rl.interop.settings import kinds
from lit_rl.interop.vecnormalize import Moments, VecNormalizeStats
from lit_rl.run.sources import find
from lit_rl.training.module import RLModule

SUMMARY = "write a checkpoint as a stable-baselines3 agent"
ORDER = 90


def main(argv: list[str]) -> int:
    """Run ``lit-rl export-sb3``."""
    quiet()
    parser = argparse.ArgumentParser(
        prog="lit-rl export-sb3",
        description="Write a .zip that stable-baselines3's algorithm of the same name loads, and vecnormalize.pkl "
        "beside it where the run has moments.",
    )
    parser.add_argument("checkpoint", help="a checkpoint or a run directory")
    parser.add_argument("--out", required=True, help="the .zip to write")
    arguments = parser.parse_args(argv)
    source = find(arguments.checkpoint, Path("lightning_logs"), "", False, "export-sb3")
    if source.agent is not None:
        raise ConfigError(f"export-sb3: {source.path} is a stable-baselines3 file already.")
    from lit_rl.interop.export import write_agent, write_vecnormalize

    name = source.ours["algorithm"]
    if name not in algorithms():
        raise ConfigError(f"export-sb3: {source.path} was written by {name}, which stable-baselines3 does not have.")
    cls = algorithms()[name]
    module: RLModule = cls.load_from_checkpoint(source.checkpoint.path if source.checkpoint else source.path)
    policy: Any = module.policy
    settings = module.settings()
    counters, out = module.counters, Path(arguments.out)
    write_agent(
        out,
        policy.state_dict(),
        policy.observation_space,
        policy.action_space,
        settings["policy"],
        settings["policy_kwargs"],
        {key: value for key, value in settings.items() if key in kinds(cls)},
        source.lightning["optimizer_states"][0],
        n_envs=module.env_config.n_envs,
        num_timesteps=counters.timesteps,
        total_timesteps=module.clock.target,
        seed=module.seed,
        algorithm=cls,
    )
    print(f"wrote {out}")
    stats = vecnormalize_stats(module)
    if stats is not None:
        beside = out.with_name("vecnormalize.pkl")
        write_vecnormalize(beside, stats, module.observation_space, module.action_space)
        print(f"wrote {beside}")
    return EXIT_OK


def vecnormalize_stats(module: RLModule) -> VecNormalizeStats | None:
    """A module's moments as SB3 keeps them; `None` without any."""
    normalizer, config = module.normalizer, module.normalizer.config
    if not config.obs and not config.reward:
        return None
    moments = {key: _moments(part) for key, part in normalizer.obs.items()}
    return VecNormalizeStats(
        obs=moments.get("obs") if set(moments) == {"obs"} and normalizer.whole else moments or None,
        reward=_moments(RunningMoments(()) if normalizer.reward is None else normalizer.reward),
        clip_obs=config.clip_obs,
        clip_reward=config.clip_reward,
        gamma=normalizer.gamma,
        epsilon=config.epsilon,
        norm_obs=config.obs,
        norm_reward=config.reward,
    )


def _moments(part: Any) -> Moments:
    return Moments(part.mean.numpy().copy(), part.var.numpy().copy(), float(part.count))
