"""Environments that step themselves as one array."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from lit_rl.curriculum.assignment import Assignment
from lit_rl.data.episode import Episode
from lit_rl.envs.build import MISSING_ID, call, import_class
from lit_rl.envs.config import EnvConfig
from lit_rl.envs.failures import EnvironmentFailed, Restart, close
from lit_rl.envs.layers import check_layers
from lit_rl.envs.output import wrong_observation
from lit_rl.envs.raw import OwnSpaces
from lit_rl.envs.spaces import plain_action_space, plain_space
from lit_rl.envs.supported import check_spaces
from lit_rl.envs.vector import Grade, StepResult
from lit_rl.errors import ConfigError
from lit_rl.ops.streams import EpisodeSeeds
from lit_rl.ops.tree import Obs, tree_map


class SameStepCartPole(CartPoleVectorEnv):
    """gymnasium's vectorised CartPole with same-step autoreset, a seed for every episode, and its state in the open.

    gymnasium's own resets one step late, which mixes a junk transition into every episode.
    """

    metadata = {  # noqa: RUF012
        **CartPoleVectorEnv.metadata,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(self, num_envs: int, **kwargs: Any) -> None:
        super().__init__(num_envs, **kwargs)
        self.state: Any = None
        self.episode = np.full(num_envs, -1)
        self.seeds: list[EpisodeSeeds] = []

    def _begin(self, ended: np.ndarray) -> None:
        for i in ended:
            self.episode[i] += 1
            rng, _ = gym.utils.seeding.np_random(self.seeds[i][int(self.episode[i])])
            self.state[:, i] = rng.uniform(self.low, self.high, size=4)
        self.steps[ended] = 0
        self.prev_done[ended] = False

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.state = np.zeros((4, self.num_envs))
        self._begin(np.arange(self.num_envs))
        return self.state.T.astype(np.float32), {}

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        obs, reward, terminated, truncated, info = super().step(action)
        ended = np.flatnonzero(self.prev_done)
        if len(ended):
            info["final_obs"], info["_final_obs"] = obs.copy(), self.prev_done.copy()
            self._begin(ended)
            obs = self.state.T.astype(np.float32)
        return obs, reward, terminated, truncated, info

    def get_states(self) -> list[dict[str, Any]]:
        """Everything a step depends on, environment by environment."""
        return [
            {"state": self.state[:, i].copy(), "steps": int(self.steps[i]), "episode": int(self.episode[i])}
            for i in range(self.num_envs)
        ]

    def set_states(self, states: list[dict[str, Any]]) -> Any:
        """The inverse of `get_states`; returns the current observations."""
        self.state = np.stack([np.asarray(each["state"]) for each in states], axis=1)
        self.steps = np.array([each["steps"] for each in states], dtype=self.steps.dtype)
        self.episode = np.array([each["episode"] for each in states])
        self.prev_done[:] = False
        return self.state.T.astype(np.float32)


class NativeVectorEnv:
    """A gymnasium `VectorEnv` with same-step autoreset.

    The grade is `exact` if it has ``get_states()`` (a dictionary of plain values and arrays for each environment) and
    ``set_states(states) -> obs``, otherwise `boundary`: a resumed run then begins new episodes.
    """

    why = ""

    def __init__(self, config: EnvConfig, run_seed: int, indices: range) -> None:
        self.offset, self.n_envs = indices.start, len(indices)
        self._env = _make(config, self.n_envs)
        mode = self._env.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.SAME_STEP:
            self._env.close()
            raise ConfigError(
                f"env.backend: native {config.name} resets with {getattr(mode, 'name', mode)}, which mixes junk "
                "transitions into the rollout; it must reset in the same step. Use backend: sync or async."
            )
        self._check_spaces(config)
        if isinstance(self._env, SameStepCartPole):
            self._env.seeds = [EpisodeSeeds(run_seed, index) for index in indices]
        self._name = config.name
        self._exact = hasattr(self._env, "get_states") and hasattr(self._env, "set_states")
        self.grade: Grade = "exact" if self._exact else "boundary"
        self.own_streams = False
        self.observation_space: spaces.Space[Any] = self._env.single_observation_space
        self.action_space: spaces.Space[Any] = self._env.single_action_space
        self.own_spaces = OwnSpaces(self.observation_space, self.action_space)
        self._batch_space = batch_space(self.observation_space, self.n_envs)
        self._starts = EpisodeSeeds(run_seed, self.offset, "episodes")
        self._start = -1
        self._ret = np.zeros(self.n_envs)
        self._length = np.zeros(self.n_envs, dtype=np.int64)

    def _check_spaces(self, config: EnvConfig) -> None:
        observation, action = self._env.single_observation_space, self._env.single_action_space
        check_layers(self._env, config)
        check_spaces(observation, action, config)
        for what, space, plain in (
            ("observation", observation, plain_space(observation)),
            ("action", action, plain_action_space(action)),
        ):
            if plain is not space:
                raise ConfigError(
                    f"env.backend: native hands arrays to the policy as they are, which cannot take the {what} space "
                    f"{space} of {config.name}; use backend: sync or async."
                )

    @property
    def masks(self) -> None:
        return None

    def assign(self, assignment: Assignment) -> None:
        raise AssertionError("a curriculum with this backend is refused by make_vector")

    @property
    def levels(self) -> np.ndarray:
        return np.zeros(self.n_envs, dtype=np.int64)

    def reset(self) -> Obs:
        self._start += 1
        self._ret[:], self._length[:] = 0.0, 0
        obs: Obs = self._env.reset(seed=self._starts[self._start])[0]
        self._check(obs)
        return obs

    def _check(self, obs: Any) -> None:
        """All observations at once must be of the space of all."""
        wrong = wrong_observation(obs, self._batch_space)
        if wrong is not None:
            raise EnvironmentFailed(f"the environments ({self._name}) sent {wrong}.")

    def rest(self, resting: np.ndarray) -> None:
        if resting.any():
            raise ConfigError(
                "env.backend: native steps all environments in one array, and none of them alone; use backend: sync or "
                "async."
            )

    def step(self, actions: np.ndarray) -> StepResult:
        obs, reward, terminated, truncated, info = self._env.step(actions)
        self._check(obs)
        self._ret += reward
        self._length += 1
        finals: list[tuple[int, Any]] = []
        episodes: list[Episode] = []
        for i in np.flatnonzero(terminated | truncated).tolist():
            finals.append((i, tree_map(lambda part, i=i: part[i], info["final_obs"])))
            episodes.append(Episode(self.offset + i, float(self._ret[i]), int(self._length[i]), None))
            self._ret[i], self._length[i] = 0.0, 0
        return StepResult(obs, np.asarray(reward, dtype=np.float64), terminated, truncated, finals, episodes)

    def settle(self) -> list[Restart]:
        return []

    def capture(self) -> list[dict[str, Any]]:
        own = self._env.get_states() if self._exact else [{} for _ in range(self.n_envs)]
        return [
            {"start": self._start, "ret": float(self._ret[i]), "length": int(self._length[i]), "own": own[i]}
            for i in range(self.n_envs)
        ]

    def restore(self, states: list[dict[str, Any]]) -> tuple[Obs, list[int]]:
        self._start = max(int(state.get("start", -1)) for state in states)
        if not self._exact or any("own" not in state for state in states):  # or another kind of backend wrote them
            return self.reset(), list(range(self.n_envs))
        obs: Obs = self._env.set_states([state["own"] for state in states])
        self._ret = np.array([state["ret"] for state in states])
        self._length = np.array([state["length"] for state in states], dtype=np.int64)
        return obs, []

    def close(self) -> None:
        close(self._env, "the native environments")


def _make(config: EnvConfig, n_envs: int) -> Any:
    kwargs = dict(config.kwargs)
    if config.max_episode_steps is not None:
        kwargs["max_episode_steps"] = config.max_episode_steps
    if config.id in ("CartPole-v1", "CartPole-v0"):
        kwargs.setdefault("max_episode_steps", 500 if config.id == "CartPole-v1" else 200)
        return call(SameStepCartPole, "env.kwargs", n_envs, **kwargs)
    if config.class_path is not None:
        return call(import_class(config.class_path, "env.class_path"), "env.kwargs", n_envs, **kwargs)
    if config.id is None:
        raise ConfigError(MISSING_ID)
    try:
        return call(
            gym.make_vec,
            "env.kwargs",
            config.id,
            num_envs=n_envs,
            vectorization_mode="vector_entry_point",
            **kwargs,
        )
    except ConfigError as error:
        if not isinstance(error.__cause__, gym.error.Error):
            raise
        text = str(error.__cause__).splitlines()[0].rstrip(".")
        raise ConfigError(f"env.backend: native is not there for {config.name} ({text}). Use sync or async.") from None
