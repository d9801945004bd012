"""`import-sb3`, `import-zoo` and `export-sb3`: stable-baselines3 in and out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lit_rl.algorithms import algorithms
from lit_rl.cli.quiet import quiet
from lit_rl.errors import EXIT_OK, ConfigError
from lit_rl.interop.run_yaml import RunDraft, draft_run, read_zoo_beside
from lit_rl.interop.sb3 import read_agent
from lit_rl.interop.settings import by_zoo_name, kinds
from lit_rl.interop.vecnormalize import Moments, VecNormalizeStats
from lit_rl.interop.warmstart import moments_for
from lit_rl.interop.zoo import read_zoo
from lit_rl.run.sources import find
from lit_rl.training.module import RLModule


def import_sb3(argv: list[str]) -> int:
    """Run ``lit-rl import-sb3``."""
    parser = argparse.ArgumentParser(
        prog="lit-rl import-sb3", description="Write a run.yaml that warm-starts from a stable-baselines3 agent."
    )
    parser.add_argument("agent", help="the agent's .zip")
    parser.add_argument("--vecnormalize", default=None, help="its VecNormalize pickle, where it is not found by name")
    parser.add_argument("--env", default=None, help="the environment, where its name has changed since")
    parser.add_argument("--out", required=True, help="the run.yaml to write")
    arguments = parser.parse_args(argv)
    agent = read_agent(arguments.agent)
    stats, stats_path = moments_for(agent, arguments.vecnormalize)
    _write(draft_run(agent, stats, stats_path, read_zoo_beside(agent), arguments.env), Path(arguments.out))
    return EXIT_OK


def import_zoo(argv: list[str]) -> int:
    """Run ``lit-rl import-zoo``."""
    parser = argparse.ArgumentParser(
        prog="lit-rl import-zoo", description="Write a run.yaml with the settings of a block of the RL Zoo's YAML."
    )
    parser.add_argument("file", help="a hyperparams file of the Zoo, or an agent's config.yml")
    parser.add_argument("--env", default=None, help="the environment whose block is read")
    parser.add_argument(
        "--algo", default="ppo", choices=by_zoo_name(), help="whose settings they are (default: %(default)s)"
    )
    parser.add_argument("--out", required=True, help="the run.yaml to write")
    arguments = parser.parse_args(argv)
    zoo = read_zoo(arguments.file, arguments.env, arguments.algo)
    _write(draft_run(zoo=zoo, env_id=arguments.env), Path(arguments.out))
    return EXIT_OK


def _write(draft: RunDraft, out: Path) -> None:
    if out.exists():
        raise ConfigError(f"--out: {out} is there already; name another file.")
    out.write_text(draft.to_yaml())
    print(f"wrote {out}")
    for item in draft.not_carried:
        print(f"  not carried over: {item.key}: {item.reason}")


def export_sb3(argv: list[str]) -> int:
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
        reward=_moments(normalizer.reward) if normalizer.reward is not None else _moments(None),
        clip_obs=config.clip_obs,
        clip_reward=config.clip_reward,
        gamma=normalizer.gamma,
        epsilon=config.epsilon,
        norm_obs=config.obs,
        norm_reward=config.reward,
    )


def _moments(part: Any) -> Moments:
    if part is None:
        from lit_rl.envs.normalize import Moments as New

        part = New(())
    return Moments(part.mean.numpy().copy(), part.var.numpy().copy(), float(part.count))
