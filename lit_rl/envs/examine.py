"""Can an environment be trained on: what a run would find out of it, asked before there is one."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from gymnasium import spaces

from lit_rl.curriculum.assignment import example
from lit_rl.curriculum.levels import Level
from lit_rl.envs.build import make_env
from lit_rl.envs.config import EnvConfig
from lit_rl.envs.failures import EnvironmentFailed, close
from lit_rl.envs.make import make_vector
from lit_rl.envs.masks import Mask, has_masks
from lit_rl.envs.own_streams import present, put_back
from lit_rl.envs.probe import Probe, probe, probe_levels, random_action
from lit_rl.envs.raw import OwnSpaces
from lit_rl.errors import ConfigError
from lit_rl.ops.streams import generator
from lit_rl.ops.tree import leaves

_STEPS = 200
_OTHER_SEED = 1
Stage = Callable[[str], None]


@dataclass(frozen=True)
class Examined:
    """What was found.

    Args:
        own: the environment's spaces, below the wrappers that a run adds.
        observation_space: as networks see it.
        obs_bytes: memory of one observation.
        seeded: whether a reset with a seed gave the same observation in two instances and again in one of them.
        seed_matters: whether another seed gave another one.
        deterministic: whether the same actions after it gave the same bits.
        streams: global random streams that it drew from: `python`, `numpy`, `torch`.
        grade: of a run's resumes.
        remedy: settings of the `env` block with which the grade is exact, where it is not; empty if none was found.
        step_seconds: median time of a step.
        n_envs: for how many environments the backend was looked for.
        backend: the faster one, `sync` or `async`.
        why: how it was found.
        out_of_bounds: the first observation that left the bounds of its Box, in words.
        masks: whether it says which actions are allowed.
    """

    own: OwnSpaces
    observation_space: spaces.Space[Any]
    obs_bytes: int
    seeded: bool
    seed_matters: bool
    deterministic: bool
    streams: list[str]
    grade: str
    remedy: dict[str, Any]
    step_seconds: float
    n_envs: int
    backend: str
    why: str
    out_of_bounds: str | None
    masks: bool


def examine(config: EnvConfig, seed: int, levels: Sequence[Level], n_envs: int, stage: Stage) -> Examined:
    """Look at an environment in every way that a run would; the global random streams are put back.

    Args:
        config: the `env` block.
        seed: of the look.
        levels: of the curriculum, if there is one.
        n_envs: for how many environments a backend is looked for.
        stage: told what is done next, for whoever waits.

    Raises:
        ConfigError: it cannot be made, or its spaces are not supported.
        EnvironmentFailed: it raises, or sends what none may send.
    """
    stage("it is made")
    config = config.with_kwargs(example(levels).env_kwargs) if levels else config
    with put_back():
        config = _with_masks(config)
        seeded, matters, deterministic, streams = _played_twice(config, seed, stage)
    stage("an episode is brought back")
    found = _probe(config, seed, levels)
    remedy = {} if found.grade == "exact" else _remedy(config, seed, levels)
    stage("the faster backend is looked for")
    backend, why = _backend(replace(config, n_envs=n_envs), seed, levels)
    assert found.own_spaces is not None
    return Examined(
        found.own_spaces, found.observation_space, _bytes(found.observation_space), seeded, matters, deterministic,
        streams, found.grade, remedy, found.step_seconds, n_envs, backend, why, found.out_of_bounds,
        config.action_masks,
    )  # fmt: skip


def _with_masks(config: EnvConfig) -> EnvConfig:
    """With masks, where the environment says what is allowed: what is forbidden may be an error of its own."""
    if config.backend == "native":
        return config
    env, _ = make_env(config)
    try:
        return replace(config, action_masks=has_masks(env))
    finally:
        close(env, config.name)


def _probe(config: EnvConfig, seed: int, levels: Sequence[Level]) -> Probe:
    return probe_levels(config, seed, levels) if levels else probe(config, seed)


def _remedy(config: EnvConfig, seed: int, levels: Sequence[Level]) -> dict[str, Any]:
    """What of the `env` block makes the grade exact."""
    for settings in ({"fresh_instance": True}, {"global_streams": "own"}):
        if config.backend == "native" and "fresh_instance" in settings:
            continue
        try:
            if _probe(replace(config, **settings), seed, levels).grade == "exact":
                return dict(settings)
        except (ConfigError, EnvironmentFailed):
            continue
    return {}


def _played_twice(config: EnvConfig, seed: int, stage: Stage) -> tuple[bool, bool, bool, list[str]]:
    """Whether a seed and actions say all that an environment does, and the global streams that it draws from.

    What it raises is found, and named, by the probe that follows.
    """
    (one, _), (two, _) = make_env(config), make_env(config)
    drawn: list[str] = []
    try:
        stage("it is reset and stepped")
        before = present()
        first = _play(one, seed, config)
        drawn = _drawn(before, present())
        random.seed(7)  # what is drawn globally is then another in the second
        np.random.seed(7)  # noqa: NPY002
        second, again = _play(two, seed, config), _reset(one, seed)
        other = _reset(two, seed + _OTHER_SEED)
        seeded = first[0] == second[0] == again
        return seeded, first[0] != other, first == second, drawn
    except ConfigError:
        raise
    except Exception:
        return False, False, False, drawn
    finally:
        close(one, config.name)
        close(two, config.name)


def _reset(env: Any, seed: int) -> bytes:
    return _bits(env.reset(seed=seed)[0])


def _play(env: Any, seed: int, config: EnvConfig) -> list[bytes]:
    """The bits of a reset and of what steps after it send; the same actions for the same seed.

    Raises:
        ConfigError: it sends NaN or infinity where none may be.
    """
    rng = generator(seed, "probe")
    name, mask = config.name, Mask(env, config.name) if config.action_masks else None
    env.action_space.seed(seed)
    sent = [_reset(env, seed)]
    for step in range(_STEPS):
        allowed = None if mask is None else mask.look()
        obs, reward, terminated, truncated, _ = env.step(random_action(env.action_space, rng, allowed))
        if not np.isfinite(reward) or not (terminated or _is_finite(obs)):
            raise ConfigError(
                f"env {name}: it sent {'an observation' if np.isfinite(reward) else 'a reward'} with NaN or infinity "
                f"in step {step + 1}; look for a division by zero, a root or a logarithm there."
            )
        sent.append(_bits(obs) + _bits(float(reward)) + bytes([bool(terminated), bool(truncated)]))
        if terminated or truncated:
            sent.append(_reset(env, seed + 2 + step))
    return sent


def _bits(value: Any) -> bytes:
    return b"".join(np.asarray(leaf).tobytes() for leaf in leaves(value))


def _is_finite(obs: Any) -> bool:
    arrays = [np.asarray(leaf) for leaf in leaves(obs)]
    return all(array.dtype.kind != "f" or bool(np.isfinite(array).all()) for array in arrays)


def _drawn(before: tuple[Any, Any, Any], after: tuple[Any, Any, Any]) -> list[str]:
    numpy = before[1][2:] != after[1][2:] or not np.array_equal(before[1][1], after[1][1])
    torch = before[2] is not None and after[2] is not None and bool((before[2] != after[2]).any())
    changed = {"python": before[0] != after[0], "numpy": numpy, "torch": torch}
    return [name for name, is_changed in changed.items() if is_changed]


def _backend(config: EnvConfig, seed: int, levels: Sequence[Level]) -> tuple[str, str]:
    envs = make_vector(replace(config, backend="auto"), seed, range(config.n_envs), levels)
    try:
        name = "async" if type(envs).__name__.startswith("Async") else "sync"
        return name, envs.why
    finally:
        envs.close()


def _bytes(space: spaces.Space[Any]) -> int:
    parts = space.spaces.values() if isinstance(space, spaces.Dict) else [space]
    return sum(int(np.prod(part.shape or ())) * np.dtype(part.dtype).itemsize for part in parts)
