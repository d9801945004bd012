"""`export-sb3`: a checkpoint as a stable-baselines3 agent."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gymnasium import spaces

from lit_rl.algorithms import algorithms
from lit_rl.cli.quiet import quiet
from lit_rl.cli.text import read_yaml
from lit_rl.envs.normalize import Moments as RunningMoments
from lit_rl.errors import EXIT_OK, ConfigError
from lit_rl.interop.replay_settings import has_replay
from lit_rl.interop.settings import kinds
from lit_rl.interop.vecnormalize import Moments, VecNormalizeStats, named_after
from lit_rl.run.directory import CONFIG
from lit_rl.run.sources import Source, find, run_of
from lit_rl.training.module import RLModule

SUMMARY = "write a checkpoint as a stable-baselines3 agent"
ORDER = 90


def main(argv: list[str]) -> int:
    """Run ``lit-rl export-sb3``."""
    quiet()
    parser = argparse.ArgumentParser(
        prog="lit-rl export-sb3",
        description="Write a .zip that stable-baselines3's algorithm of the same name loads, and its moments beside it "
        "(NAME_vecnormalize.pkl) where the run has any.",
    )
    parser.add_argument("checkpoint", help="a checkpoint or a run directory")
    parser.add_argument("--out", required=True, help="the .zip to write")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there already")
    parser.add_argument(
        "--config", default=None, help="the run's YAML, for classes of your own; a run directory has it already"
    )
    arguments = parser.parse_args(argv)
    source = find(arguments.checkpoint, Path("lightning_logs"), "", False, "export-sb3")
    if source.agent is not None:
        raise ConfigError(f"export-sb3: {source.path} is a stable-baselines3 file already.")
    from lit_rl.interop.export import write_agent, write_vecnormalize

    name = source.ours["algorithm"]
    if name not in algorithms():
        raise ConfigError(f"export-sb3: {source.path} was written by {name}, which stable-baselines3 does not have.")
    cls, out = algorithms()[name], Path(arguments.out)
    module: Any = _load(cls, source, arguments.config)
    module.check_export()
    policy, settings, counters = module.policy, module.settings(), module.counters
    stats, beside = vecnormalize_stats(module), named_after(out)
    _check_free([out] if stats is None else [out, beside], arguments.overwrite)
    given, replay = settings["policy_kwargs"], _Replay.of(module)
    write_agent(
        out,
        policy.state_dict(),
        policy.observation_space,
        policy.action_space,
        settings["policy"] if settings["policy"] in cls.POLICIES else module.policy_class,
        given and {key: module.policy_kwargs[key] for key in given},
        {key: _theirs(value) for key, value in settings.items() if key in kinds(cls) and key not in replay.left_out},
        source.lightning["optimizer_states"],
        log_ent_coef=getattr(module, "log_ent_coef", None),
        n_envs=module.env_config.n_envs,
        num_timesteps=counters.timesteps,
        total_timesteps=module.clock.target,
        seed=module.seed,
        algorithm=cls,
        her=replay.her,
    )
    print(f"wrote {out}")
    for line in replay.said(cls.__name__):
        print(f"  {line}")
    if stats is not None:
        write_vecnormalize(beside, stats, module.observation_space, module.action_space)
        print(f"wrote {beside}")
    return EXIT_OK


@dataclass
class _Replay:
    """What stable-baselines3 has of a run's replay.

    Args:
        her: arguments of its HerReplayBuffer.
        left_out: settings that it has no place for, and why.
    """

    her: dict[str, Any] | None = None
    left_out: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, module: Any) -> _Replay:
        """Of a module, with a replay or without."""
        found = cls()
        if not has_replay(type(module)):
            return found
        if module.her is not None:
            found.her = asdict(module.her)
        if module.prioritized_replay is not None:
            found.left_out["prioritized_replay"] = "stable-baselines3 samples every transition alike"
        if module.n_steps > 1 and isinstance(module.observation_space, spaces.Dict):
            found.left_out["n_steps"] = "stable-baselines3 has no n-step returns of Dict observations"
        return found

    def said(self, name: str) -> list[str]:
        """What the user is told of it."""
        lines = [f"not carried over: {key}: {reason}" for key, reason in self.left_out.items()]
        if self.her is not None:
            lines.append(f"her: a HerReplayBuffer, which needs the environment: {name}.load(path, env=env)")
        return lines


def _theirs(value: Any) -> Any:
    """A setting as stable-baselines3 takes it."""
    return tuple(value) if isinstance(value, list) else value


def _load(cls: type[RLModule], source: Source, config: str | None) -> RLModule:
    """The module of a checkpoint. Classes of the user's are imported where his own YAML names them."""
    run = run_of(str(source.path), Path("lightning_logs"), "")
    file = Path(config) if config is not None else run / CONFIG if run is not None else None
    given = _named(file) if file is not None and (config is not None or file.is_file()) else {}
    path = source.checkpoint.path if source.checkpoint else source.path
    try:
        module: RLModule = cls.load_from_checkpoint(path, **given)
    except ConfigError as error:
        if given or "pass " not in str(error):
            raise
        what = str(error).partition(";")[0]
        raise ConfigError(f"export-sb3: {what}; give the run's own YAML with --config to import it.") from None
    return module


def _named(file: Path) -> dict[str, Any]:
    """The settings in a YAML that may name classes."""
    config = read_yaml(file)
    model = config.get("model")
    own = model.get("init_args") if isinstance(model, dict) else None
    given = {key: own[key] for key in ("policy", "policy_kwargs") if isinstance(own, dict) and key in own}
    return given | ({"curriculum": config["curriculum"]} if config.get("curriculum") else {})


def _check_free(files: list[Path], overwrite: bool) -> None:
    for file in files:
        if file.is_dir():
            raise ConfigError(f"--out: {file} is a directory; name a file in it.")
        if file.exists() and not overwrite:
            raise ConfigError(f"--out: {file} is there already; name another file, or give --overwrite.")


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
