"""A short look at an environment before a run: can its episodes be brought back, and what does a step cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from gymnasium import spaces

from lit_rl.curriculum.levels import Level
from lit_rl.envs.bounds import Bounds
from lit_rl.envs.config import EnvConfig
from lit_rl.envs.failures import EnvironmentFailed, EnvironmentLost
from lit_rl.envs.masks import random_allowed
from lit_rl.envs.own_streams import present, put_back, same
from lit_rl.envs.raw import OwnSpaces, own_spaces
from lit_rl.envs.slot import Slot
from lit_rl.envs.vector import Grade
from lit_rl.errors import ConfigError
from lit_rl.ops.streams import generator

_PROBE_STEPS = 60
_WHOLE_STEPS = 500
_MOST_LEVELS = 32
_PROBE_EPISODES = 8
"""BipedalWalker-v3 carries its physics world across resets and showed it after 2 of them in 2 runs of 12, after 4
and after 8 in all 12."""


@dataclass(frozen=True)
class Probe:
    """What a short look at one environment says.

    Args:
        grade: whether an environment brought back by replay behaved the same.
        step_seconds: median time of one step.
        draws: whether it drew from the global random streams, and was looked at with its own.
        observation_space: with all wrappers.
        action_space: with all wrappers.
        out_of_bounds: the first observation seen that left the bounds of its Box, in words.
        own_spaces: below the wrappers that the run adds.
    """

    grade: Grade
    step_seconds: float
    draws: bool
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    out_of_bounds: str | None = None
    own_spaces: OwnSpaces | None = None


def probe_levels(config: EnvConfig, run_seed: int, levels: Sequence[Level], resuming: bool = False) -> Probe:
    """`probe` on every level of a curriculum: the lowest grade and the longest step of all.

    Of very many levels some are looked at, evenly over all of them, the first and the last included.

    Raises:
        ConfigError: a level cannot be played, or its spaces are not those of the first.
    """
    probes: list[Probe] = []
    looked_at = sorted(set(np.linspace(0, len(levels) - 1, min(len(levels), _MOST_LEVELS)).astype(int).tolist()))
    for i in looked_at:
        level = levels[i]
        try:
            probes.append(probe(config, run_seed, [level], resuming))
        except ConfigError as error:
            if str(error).startswith("curriculum"):
                raise
            raise ConfigError(f"curriculum.levels[{i}] '{level.name}': {error}") from error
        for what in ("observation_space", "action_space"):
            first, this = getattr(probes[0], what), getattr(probes[-1], what)
            if first != this:
                raise ConfigError(
                    f"curriculum.levels[{i}] '{level.name}': the environment's {what} becomes {this}, and level 0 has "
                    f"{first}; one policy needs the same on all levels."
                )
    grade: Grade = "exact" if all(probed.grade == "exact" for probed in probes) else "boundary"
    broken = next((probed.out_of_bounds for probed in probes if probed.out_of_bounds is not None), None)
    longest, draws = max(probed.step_seconds for probed in probes), any(probed.draws for probed in probes)
    return replace(probes[0], grade=grade, step_seconds=longest, draws=draws, out_of_bounds=broken)


def probe(config: EnvConfig, run_seed: int, levels: Sequence[Level] = (), resuming: bool = False) -> Probe:
    """Play an environment, bring it back elsewhere by replay, and compare; the global random streams are put back.

    Where `global_streams` is `auto` and it draws from them, it is looked at once more with its own.
    """
    with put_back() as before:
        found = _look(config, run_seed, levels, resuming)
        if config.global_streams != "auto" or same(before, present()):
            return replace(found, draws=config.global_streams == "own")
        return replace(_look(replace(config, global_streams="own"), run_seed, levels, resuming), draws=True)


def _look(config: EnvConfig, run_seed: int, levels: Sequence[Level], resuming: bool) -> Probe:
    """Play an environment, bring it back elsewhere by replay, and compare.

    One instance plays some steps of several episodes, cutting each off, and each but the first is replayed in a new
    one; then an episode as a whole, if it is not too long: some show only at its end what they began with. Both
    instances belong to the check alone: their seeds and actions come from a stream of its own. Wrappers that make
    episodes of lives do not reset in mid-game; there one episode is played and replayed. An environment that raises is
    looked at no further where that is no reason to stop: with `on_env_crash: restart`, and at a resume.
    """
    rng, bounds = generator(run_seed, "probe"), Bounds(config.atari or config.frame_stack is not None)
    played = Slot(config, run_seed, 0, "probe", levels)
    exact: bool | None = None
    try:
        seconds = _play(played, rng, _PROBE_STEPS, bounds)
        for i in range(1, _PROBE_EPISODES):
            # one step more each time: where every episode has the same length, some must be cut in the middle
            seconds = _play(played, rng, _PROBE_STEPS + i, bounds)
            if not played.truly_reset:
                break  # lives: where we cut is not in the action log
            exact = _comes_back(played, config, run_seed, levels)
            if not exact:
                break
        if exact:
            exact = _comes_back_whole(played, rng, config, run_seed, levels)
        if exact is None:
            played.close()
            played = Slot(config, run_seed, 0, "probe", levels)
            seconds = _play(played, rng, _PROBE_STEPS, bounds)
            exact = _comes_back(played, config, run_seed, levels)
    except EnvironmentLost:
        if config.on_env_crash != "restart" and not resuming:
            raise
        seconds, exact = 0.0, exact is not False and config.on_env_crash == "restart"
    finally:
        played.close()
    return Probe(
        "exact" if exact else "boundary",
        seconds,
        False,
        played.env.observation_space,
        played.env.action_space,
        bounds.broken,
        own_spaces(played.env),
    )


def _comes_back(played: Slot, config: EnvConfig, run_seed: int, levels: Sequence[Level]) -> bool:
    replayed = Slot(config, run_seed, 0, "probe", levels)
    try:
        return replayed.restore(played.capture())[1]
    finally:
        replayed.close()


def _comes_back_whole(
    played: Slot, rng: np.random.Generator, config: EnvConfig, run_seed: int, levels: Sequence[Level]
) -> bool:
    """Whether an episode is the same elsewhere from its first step to its last, the result of that included."""
    played.keeps_whole = True
    played.begin()
    if not played.truly_reset:
        return True  # lives: where we cut is not in the action log
    for _ in range(_WHOLE_STEPS):
        played.step(random_action(played.env.action_space, rng, played.mask))
        if played.whole is not None:
            break
    if played.whole is None:
        return True  # too long: the look before said what there is to say
    again = Slot(config, run_seed, 0, "probe", levels)
    try:
        return again.plays_whole_again(played.whole)
    except EnvironmentFailed:
        return False
    finally:
        again.close()


def _play(slot: Slot, rng: np.random.Generator, steps: int, bounds: Bounds) -> float:
    """Begin an episode and take some random steps; returns the median time of one, in seconds."""
    bounds.look(slot.begin(), slot.env.observation_space)
    times = []
    for _ in range(steps):
        action = random_action(slot.env.action_space, rng, slot.mask)
        start = time.perf_counter()
        obs = slot.step(action).obs
        times.append(time.perf_counter() - start)
        bounds.look(obs, slot.env.observation_space)
    return float(np.median(times))


def random_action(space: spaces.Space[Any], rng: np.random.Generator, mask: np.ndarray | None = None) -> Any:
    """A uniform action of a supported space, drawn from `rng` and not from the space's own stream.

    Where there is a mask, of those that it allows.
    """
    if mask is not None:
        return random_allowed(space, mask, rng)
    if isinstance(space, spaces.Discrete):
        return np.dtype(space.dtype).type(rng.integers(int(space.n)))
    if isinstance(space, spaces.MultiDiscrete):
        return rng.integers(space.nvec).astype(space.dtype)
    if isinstance(space, spaces.MultiBinary):
        return rng.integers(2, size=space.shape).astype(space.dtype)
    assert isinstance(space, spaces.Box)
    low = np.where(np.isfinite(space.low), space.low, -1.0)
    high = np.where(np.isfinite(space.high), space.high, 1.0)
    return rng.uniform(low, high).astype(space.dtype)
