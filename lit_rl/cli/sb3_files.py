"""A checkpoint as a stable-baselines3 agent."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gymnasium import spaces

from lit_rl.algorithms import algorithms, refuse_unavailable
from lit_rl.cli.agents import named_in
from lit_rl.cli.output import check_free
from lit_rl.envs.images import is_image
from lit_rl.envs.normalize import Moments as RunningMoments
from lit_rl.errors import EXIT_OK, ConfigError
from lit_rl.inference.load import check_which, existing, open_checkpoint
from lit_rl.interop.replay_settings import has_replay
from lit_rl.interop.settings import kinds
from lit_rl.interop.vecnormalize import Moments, VecNormalizeStats, named_after
from lit_rl.run.directory import CONFIG
from lit_rl.run.sources import Source, find, run_of
from lit_rl.training.module import RLModule


def write_sb3(command: str, wanted: str, which: str | None, config: str | None, out: Path, overwrite: bool) -> int:
    """Write a checkpoint as a stable-baselines3 agent, and its moments beside it; returns the exit code.

    Args:
        command: as it was typed, for errors.
        wanted: a run directory, whose last checkpoint is taken, or a checkpoint.
        which: of a run directory: `best` or `last`.
        config: the run's YAML, for classes of the user's own; a run directory has it already.
        out: the zip.
        overwrite: whether files that are there may be replaced.
    """
    if which is not None:
        wanted = str(open_checkpoint(existing(wanted), check_which(which)).path)
    source = find(wanted, Path("lightning_logs"), "", False, command)
    if source.agent is not None:
        raise ConfigError(f"{command}: {source.path} is a stable-baselines3 file already.")
    from lit_rl.interop.export import write_agent, write_vecnormalize

    name = source.ours["algorithm"]
    if name not in algorithms():
        refuse_unavailable(name, command)
        raise ConfigError(f"{command}: {source.path} was written by {name}, which stable-baselines3 does not have.")
    cls = algorithms()[name]
    module: Any = _load(command, cls, source, config)
    module.check_export()
    policy, settings, counters = module.policy, module.settings(), module.counters
    stats, beside = vecnormalize_stats(module), named_after(out)
    check_free([out] if stats is None else [out, beside], overwrite)
    given, replay = settings["policy_kwargs"], _Replay.of(module)
    write_agent(
        out,
        policy.state_dict(),
        _observation_space(module),
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
        noise=(settings["noise_type"], settings["noise_std"]) if settings.get("noise_type") else None,
        updates=counters.updates,
        episodes=counters.episodes,
        window=module.episodes.episodes,
    )
    print(f"wrote {out}")
    for line in replay.said(cls.__name__):
        print(f"  {line}")
    if stats is not None:
        write_vecnormalize(beside, stats, module.observation_space, module.action_space)
        print(f"wrote {beside}")
    return EXIT_OK


def _observation_space(module: Any) -> spaces.Space[Any]:
    """As stable-baselines3's VecNormalize leaves it, which changes that of an image alone: what its `load` compares."""
    raw: spaces.Space[Any] = module.observation_space
    seen: Any = module.policy.observation_space
    if not isinstance(raw, spaces.Dict):
        whole: spaces.Space[Any] = seen if is_image(raw) else raw
        return whole
    return spaces.Dict({key: seen[key] if is_image(part) else part for key, part in raw.spaces.items()})


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


def _load(command: str, cls: type[RLModule], source: Source, config: str | None) -> RLModule:
    """The module of a checkpoint. Classes of the user's are imported where his own YAML names them."""
    run = run_of(str(source.path), Path("lightning_logs"), "")
    file = Path(config) if config is not None else run / CONFIG if run is not None else None
    given = named_in(file) if file is not None and (config is not None or file.is_file()) else {}
    path = source.checkpoint.path if source.checkpoint else source.path
    try:
        module: RLModule = cls.load_from_checkpoint(path, **given)
    except ConfigError as error:
        if given or "pass " not in str(error):
            raise
        what = str(error).partition(";")[0]
        raise ConfigError(f"{command}: {what}; give the run's own YAML with --config to import it.") from None
    return module


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
