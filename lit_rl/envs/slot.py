"""One environment of a run: its episodes, its action log, and how it comes back in mid-episode."""

from __future__ import annotations

import contextlib
import functools
import struct
import traceback
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from lit_rl.curriculum.assignment import Tasks, parameters
from lit_rl.curriculum.delivery import deliver
from lit_rl.curriculum.levels import Level, shown_of
from lit_rl.data.episode import Episode
from lit_rl.data.task import Task
from lit_rl.envs.build import CannotMake, make_env
from lit_rl.envs.config import EnvConfig
from lit_rl.envs.failures import (
    EnvironmentFailed,
    EnvironmentLost,
    InvalidOutput,
    close,
)
from lit_rl.envs.flight import ActionLog, SlotState
from lit_rl.envs.masks import Mask
from lit_rl.envs.monitor import EpisodeMonitor
from lit_rl.envs.output import as_number, check_flags, first_observation, step_error, wrong_observation
from lit_rl.envs.own_streams import OwnStreams
from lit_rl.errors import ConfigError, LitRLError
from lit_rl.ops.streams import EpisodeSeeds
from lit_rl.ops.tree import tree_map

_MAKING = 0x5BD1E995
"""Tells the seed of what is drawn while an environment is made from that of its episode."""
_pack_float = struct.Struct("<d").pack


class Transition(NamedTuple):
    """One step. `obs` already belongs to the next episode where this one ended, whose last observation is `final`."""

    obs: Any
    reward: float
    terminated: bool
    truncated: bool
    final: Any | None


def _named(method: Callable[..., Any]) -> Callable[..., Any]:
    """Whatever an environment raises in a method of its slot, the error names the environment."""

    @functools.wraps(method)
    def guarded(slot: Slot, *args: Any) -> Any:
        try:
            if slot.streams is None:
                return method(slot, *args)
            with slot.streams:
                return method(slot, *args)
        except InvalidOutput as invalid:
            raise EnvironmentFailed(f"{slot.name} sent {invalid}{slot.place}.") from None
        except LitRLError:
            raise
        except Exception as error:
            said = " ".join(traceback.format_exception_only(error)[-1].split()).rstrip(".")
            lost = EnvironmentLost(f"{slot.name} raised {said}{slot.place}.")
            lost.add_note("".join(traceback.format_exception(error)).rstrip())
            raise lost from error

    return guarded


class Slot:
    """One environment with same-step autoreset, whose every episode starts from its own seed.

    Args:
        config: how to make the environment.
        run_seed: the run's seed.
        index: environment index in the run.
        stream: which family of seeds its episodes take.
        levels: of the run's curriculum; empty without one.
        key: what else tells its family of seeds from others.
        longest: steps after which an episode is cut off; `None` for no limit beyond the environment's own.
    """

    def __init__(
        self,
        config: EnvConfig,
        run_seed: int,
        index: int,
        stream: str = "episodes",
        levels: Sequence[Level] = (),
        key: tuple[int, ...] = (),
        longest: int | None = None,
    ) -> None:
        self._config, self._longest = config, longest
        self.index = index
        self._seeds = EpisodeSeeds(run_seed, index, stream, *key)
        self.streams = OwnStreams() if config.global_streams == "own" else None
        self._levels = levels
        self.tasks = Tasks(levels, run_seed, index, key)
        """What the curriculum gives to each episode as it begins."""
        self._replayed: Task | None = None
        self.env: gym.Env[Any, Any]
        self._monitor: EpisodeMonitor
        self._made_with: dict[str, Any] | None = None
        self._is_new = False
        self._resetting = False
        self.gave_up: str | None = None
        """Why the episode in flight could not be played again, where it raised."""
        self.episode = -1
        self._first_episode = 0
        self._actions = ActionLog()
        self._tokens: list[bytes] = []
        self._trace = 0
        self.keeps_whole = False
        """Whether the last episode that ended is kept, as it was at its end, in `whole`."""
        self.whole: SlotState | None = None
        self.mask: np.ndarray | None = None
        """Which actions are allowed now, where environments say so: bool [M]."""
        self.tick: Callable[[], object] = int
        """Called before each step of a replay, which may take long."""
        self._make(self.tasks.on(0, self._seeds[0]))

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return f"environment {self.index} ({self._config.name})"

    @property
    def place(self) -> str:
        """Where it stands, for messages."""
        if self._resetting:
            return f" in the reset of episode {self.episode}"
        if self.episode < 0:
            return ""
        return f" in episode {self.episode}, step {len(self._actions)}"

    @_named
    def _make(self, task: Task) -> None:
        """Make the environment with the keyword arguments of a task."""
        finished = []
        if self._made_with is not None:
            finished = self._monitor.finished
            self.close()
        if self.streams is not None:
            coming = self.episode if self._resetting else self.episode + 1
            self.streams.seed(self._seeds[coming if self._config.fresh_instance else 0] ^ _MAKING)
        own = self.tasks.played(task).env_kwargs if self._levels else {}
        try:
            self.env, self._monitor = make_env(self._config.with_kwargs(own), self.index, shown_of(self._levels))
        except CannotMake as mistake:
            if self.episode < 0 or mistake.__cause__ is None:
                raise
            raise mistake.__cause__ from None  # it could be made before: no mistake of the configuration
        self._monitor.finished, self._monitor.longest = finished, self._longest
        self._action_spaces = _action_spaces(self.env)
        self._mask = Mask(self.env, self._config.name) if self._config.action_masks else None
        self._space = space = self.env.observation_space
        self._plain = (space.dtype, space.shape) if isinstance(space, spaces.Box) else (None, None)
        self._made_with, self._is_new = own, True

    def _next_task(self) -> Task:
        """Task of the episode `self.episode`, if it begins now."""
        if self._replayed is not None:
            return self._replayed
        return self.tasks.of(self.episode, self._seeds[self.episode])

    def _enter(self, task: Task) -> None:
        """Give the environment its task; it is made anew where it has to be. A reset of it must follow."""
        if self._levels:
            played = self.tasks.played(task)
            if played.env_kwargs != self._made_with:
                self._make(task)
            deliver(self.env, played)
            shown = shown_of(self._levels)
            if shown is not None:
                self._monitor.shown = shown.of(task.level, parameters(played))
            if task.seed is not None and self._monitor.starts_by_token:
                raise ConfigError(
                    f"curriculum.sample: levels told apart by seeds need environments that a seed sets, and "
                    f"{self._config.name} begins as it likes; leave seeds out."
                )
        self._monitor.task = task

    def _reset(self, task: Task | None = None) -> Any:
        """`task`: of an episode that begins here; at a lost life none does."""
        seed = self._seeds[self.episode] if task is None or task.seed is None else task.seed
        if self.streams is not None:
            self.streams.seed(seed)
        for space in self._action_spaces:
            space.seed(seed)
        self._is_new = False
        obs, _ = first_observation(self.env.reset(seed=seed))
        wrong = wrong_observation(obs, self._space)
        if wrong is not None:
            raise InvalidOutput(wrong)
        return obs

    def restart(self) -> Any:
        """Make the environment anew after it failed, and begin the next episode; returns its first observation.

        The broken episode is in no statistics.
        """
        with contextlib.suppress(Exception):
            self.env.close()
        self._made_with = None
        self._make(self.tasks.on(0, self._seeds[0]))
        return self._begin()

    def begin(self) -> Any:
        """Start the next episode, wherever the environment is; returns its first observation."""
        if self._config.fresh_instance and not self._is_new:
            self._make(self._monitor.task)
        return self._begin()

    @_named
    def _begin(self) -> Any:
        self.episode += 1
        self._resetting = True
        task, is_true = self._next_task(), self._monitor.over
        if is_true:  # this reset will be a true one
            if self._config.fresh_instance and not self._is_new:  # not at a lost life: the game goes on
                self._make(task)
            self._enter(task)
        obs = self._reset(task if is_true else None)
        cut = self._monitor.began and not is_true  # a wrapper cut the episode: only the reset shows it
        if cut and (self._monitor.task != task or task.seed is not None):
            self._make(task)
            self._enter(task)
            obs = self._reset(task)
        if self._monitor.began:
            self._monitor.began = False
            self._first_episode = self.episode
            self._actions.clear()
            self._tokens, self._monitor.tokens = self._monitor.tokens, []
            self._trace = 0
        self._trace = _checksum(obs, self._trace)
        if self._mask is not None:
            self._look_at_mask(self._mask)
        self._resetting = False
        return obs

    def _look_at_mask(self, mask: Mask) -> None:
        """At every step, played for the first time or again: what is asked may draw random numbers."""
        self.mask = mask.look()
        self._trace = zlib.crc32(self.mask.tobytes(), self._trace)

    @_named
    def step(self, action: Any) -> Transition:
        """Take one step, and begin the next episode where this one ends."""
        self._actions.append(action)
        try:
            obs, reward, terminated, truncated, _ = self.env.step(action)
        except (ValueError, TypeError) as error:
            raise step_error(error)  # noqa: B904  often the same one
        dtype, shape = self._plain  # of a Box; looked at here, for a call at every step would take longer
        if type(obs) is not np.ndarray or obs.dtype is not dtype or obs.shape != shape:
            wrong = wrong_observation(obs, self._space)
            if wrong is not None:
                raise InvalidOutput(wrong)
        value = reward if type(reward) is float else as_number(reward)
        if terminated is not False or truncated is not False:
            check_flags(terminated, truncated)
        self._trace = zlib.crc32(_pack_float(value), _checksum(obs, self._trace))
        if terminated or truncated:
            final = tree_map(np.array, obs)  # a copy: the reset may write into the same array
            if self.keeps_whole:
                self.whole = self.capture()
            return Transition(self._begin(), value, bool(terminated), bool(truncated), final)
        if self._mask is not None:
            self._look_at_mask(self._mask)
        return Transition(obs, value, False, False, None)

    @property
    def truly_reset(self) -> bool:
        """Whether the episode going on began with a reset of the environment below all wrappers."""
        return self._first_episode == self.episode

    @property
    def level(self) -> int:
        """Index of the curriculum's level that the episode going on is played on."""
        return self._monitor.task.level

    def take_finished(self) -> list[Episode]:
        """Episodes finished since the last call."""
        if not self._monitor.finished:
            return []
        finished, self._monitor.finished = self._monitor.finished, []
        return finished

    def capture(self) -> SlotState:
        """All that is needed to come back to this very step."""
        task = self._monitor.task
        level = self._levels[task.level].name if self._levels else None
        actions, tokens = self._actions.array(), list(self._tokens)
        return SlotState(self._first_episode, self.episode, actions, self._trace, tokens, level, task.to_plain())

    def restore(self, state: SlotState) -> tuple[Any, bool]:
        """Come back to a captured step by playing the episode again from its seed.

        Returns:
            the current observation, and whether every observation and reward on the way was the same to the bit. If
            one was not, the environment carries something that its seed does not set: the episode is given up and the
            next one begun.
        """
        try:
            exact = self._replay(state)
        except EnvironmentFailed as error:  # it was not what it is now: that episode cannot be had again
            self.gave_up, exact = str(error), None
        if exact is not None:
            return exact, True
        self._monitor.replay_tokens, self._resetting = [], False
        self.episode = state.episode
        self._make(self.tasks.on(0, self._seeds[0]))
        obs = self._begin()
        self.take_finished()
        return obs, False

    def restore_plain(self, plain: dict[str, Any]) -> tuple[Any, bool]:
        """`restore` from a checkpoint's plain values. What another kind of backend has written brings nothing back.

        With `give_up` the episode is not played again: it has cost a worker its life.
        """
        if "first_episode" not in plain:
            return self.begin(), False
        if plain.get("give_up"):
            self.episode = int(plain["episode"])
            return self.begin(), False
        return self.restore(SlotState.from_plain(plain))

    def plays_whole_again(self, whole: SlotState) -> bool:
        """Whether an episode that another slot has kept whole is the same here, to its end."""
        self.keeps_whole = True
        self._begin_again(whole, Task.from_plain(0, whole.task))
        for action in whole.actions:
            self.step(action)
        return self.whole is not None and self.whole.trace == whole.trace

    def _begin_again(self, state: SlotState, task: Task) -> Any:
        """Make the environment, and begin the episode that a state's actions begin with."""
        self._resetting, self.episode = False, state.first_episode - 1
        self._make(task)
        self._monitor.replay_tokens = list(state.tokens)
        self._replayed = task
        try:
            return self._begin()
        finally:
            self._replayed = None

    def _replay(self, state: SlotState) -> Any | None:
        names: list[str | None] = [level.name for level in self._levels] or [None]
        if state.level not in names:  # the level is gone, or the run had no curriculum
            return None
        task = Task.from_plain(names.index(state.level), state.task)
        if not self.tasks.fits(task):  # a value was drawn then that is none now, or the other way round
            return None
        obs = self._begin_again(state, task)
        for action in state.actions:
            if self.episode > state.episode:
                return None
            self.tick()
            obs = self.step(action).obs
        self.take_finished()
        same = self.episode == state.episode and self._first_episode == state.first_episode
        return obs if same and self._trace == state.trace else None

    def close(self) -> None:
        close(self.env, self.name)


def _checksum(obs: Any, value: int) -> int:
    if isinstance(obs, dict):
        for part in obs.values():
            value = _checksum(part, value)
        return value
    return zlib.crc32(np.ascontiguousarray(obs).data, value)


def _action_spaces(env: gym.Env[Any, Any]) -> list[gym.Space[Any]]:
    """Every distinct action space of a wrapper chain: some environments and wrappers sample from theirs."""
    found: dict[int, gym.Space[Any]] = {}
    layer: gym.Env[Any, Any] = env
    while True:
        found[id(layer.action_space)] = layer.action_space
        if not isinstance(layer, gym.Wrapper):
            return list(found.values())
        layer = layer.env
