"""What the episodes that begin now are played on, and how an environment finds out what its next one is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lit_rl.curriculum.bounds import Bounds
from lit_rl.curriculum.choice import Choice, Current
from lit_rl.curriculum.levels import Level
from lit_rl.curriculum.values import Made, Moment, is_made, read_value
from lit_rl.data.task import Task
from lit_rl.ops.streams import EpisodeSeeds, generator

SET_LEVEL = "set_level"
"""What the value given to `set_level` is called among the parameters of a level."""


@dataclass(frozen=True)
class Assignment:
    """What the curriculum says between two boundaries. It goes to every process that has environments.

    Args:
        choices: how the level of an episode is chosen, for each dimension.
        sizes: how many levels each dimension has; the levels of all together are counted with the last one fastest.
        timesteps: of the run at the boundary, where something follows them; else 0.
        bounds: what parameters with adapting bounds are drawn from.
    """

    choices: tuple[Choice, ...] = (Current(),)
    sizes: tuple[int, ...] = (1,)
    timesteps: int = 0
    bounds: Bounds | None = None

    def level(self, env_index: int, episode: int, u: Callable[[int], float]) -> tuple[int, int | None]:
        """Index of an episode's level, and its reset's seed, where it is told by one; `u` gives each choice's draw."""
        found, seed = 0, None
        for i, (choice, size) in enumerate(zip(self.choices, self.sizes, strict=True)):
            at, own = choice.level(env_index, episode, u(i))
            found, seed = found * size + at, seed if own is None else own
        return found, seed


def on_level(level: int, timesteps: int = 0, bounds: Bounds | None = None) -> Assignment:
    """Every episode on one level."""
    return Assignment((Current(level),), (1,), timesteps, bounds)


class Tasks:
    """The tasks of one environment's episodes: functions of the assignment and of the episode's own numbers.

    Args:
        levels: of the curriculum; empty without one.
        run_seed: the run's seed.
        env_index: global index of the environment.
        key: what tells these draws from others of the same run.
    """

    def __init__(self, levels: Sequence[Level], run_seed: int, env_index: int, key: tuple[int, ...] = ()) -> None:
        self._levels, self._run_seed, self._env_index, self._key = levels, run_seed, env_index, key
        self._draws: dict[int, EpisodeSeeds] = {}
        self._made: dict[int, dict[str, Made]] = {}
        self.assignment = Assignment()

    def of(self, episode: int, seed: int) -> Task:
        """The task of an episode that begins now.

        Args:
            episode: which of the environment's episodes it is.
            seed: the episode's own.
        """
        if not self._levels:
            return Task()
        level, own = self.assignment.level(self._env_index, episode, lambda i: self._draw(i, episode))
        return self.on(level, seed if own is None else own, own)

    def on(self, level: int, seed: int, own: int | None = None) -> Task:
        """The task of an episode on a level, where it has this seed; `own` is the level's."""
        if not self._levels:
            return Task()
        if level not in self._made:
            self._made[level] = made_values(self._levels[level])
        made = self._made[level]
        if not made:
            return Task(level, (), own)
        now, adapted, pinned = self.assignment, None, None
        if now.bounds is not None:
            adapted, pinned = now.bounds.draw(generator(seed, "bounds"))
        moment = Moment(now.timesteps, adapted)
        drawn = tuple((name, each.value(name, generator(seed, f"drawn {name}"), moment)) for name, each in made.items())
        return Task(level, drawn, own, pinned)

    def fits(self, task: Task) -> bool:
        """Whether a task of a checkpoint gives the values that its level takes."""
        wanted = made_values(self._levels[task.level]) if self._levels else {}
        return wanted.keys() == dict(task.drawn).keys()

    def played(self, task: Task) -> Level:
        """The level of a task, with the values that were drawn for it."""
        return with_values(self._levels[task.level], dict(task.drawn))

    def _draw(self, choice: int, episode: int) -> float:
        """Uniform in [0, 1), for a choice of an episode."""
        if choice not in self._draws:
            key = (*self._key, choice)
            self._draws[choice] = EpisodeSeeds(self._run_seed, self._env_index, "curriculum", *key)
        return self._draws[choice][episode] / 2**31


def example(levels: Sequence[Level], seed: int = 0) -> Level:
    """The first level, with values such as an episode may have."""
    tasks = Tasks(levels, seed, 0)
    return tasks.played(tasks.on(0, seed))


def made_values(level: Level, key: str = "curriculum") -> dict[str, Made]:
    """The parameters of a level that are made for each episode, by name."""
    found: dict[str, Made] = {}
    for name, value in parameters(level).items():
        if is_made(value):
            read = read_value(value, f"{key}.{name}")
            assert isinstance(read, Made)  # what is over levels has become a constant of each
            found[name] = read
    return found


def parameters(level: Level) -> dict[str, Any]:
    """All values of a level by name. No name is in two places: `checks` sees to it."""
    own = {} if level.set_level is None else {SET_LEVEL: level.set_level}
    return {**level.env_kwargs, **level.attributes, **own}


def with_values(level: Level, values: Mapping[str, Any]) -> Level:
    """A level with these values in the places of those that are made."""
    if not values:
        return level

    def filled(block: Mapping[str, Any]) -> dict[str, Any]:
        return {name: values[name] if name in values and is_made(given) else given for name, given in block.items()}

    own = values[SET_LEVEL] if SET_LEVEL in values and is_made(level.set_level) else level.set_level
    return replace(level, env_kwargs=filled(level.env_kwargs), attributes=filled(level.attributes), set_level=own)
