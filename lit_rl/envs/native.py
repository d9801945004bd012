"""Environments that step themselves as one array."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AutoresetMode

from lit_rl.data.episode import Episode
from lit_rl.envs.build import MISSING_ID, call, import_class
from lit_rl.envs.config import EnvConfig
from lit_rl.envs.vector import Grade, StepResult
from lit_rl.errors import ConfigError
from lit_rl.ops.streams import EpisodeSeeds, Stream
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

    def _begin(self, rows: np.ndarray) -> None:
        for row in rows:
            self.episode[row] += 1
            rng, _ = gym.utils.seeding.np_random(self.seeds[row][int(self.episode[row])])
            self.state[:, row] = rng.uniform(self.low, self.high, size=4)
        self.steps[rows] = 0
        self.prev_done[rows] = False

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.state = np.zeros((4, self.num_envs))
        self._begin(np.arange(self.num_envs))
        return self.state.T.astype(np.float32), {}

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        obs, reward, terminated, truncated, info = super().step(action)
        rows = np.flatnonzero(self.prev_done)
        if len(rows):
            info["final_obs"], info["_final_obs"] = obs.copy(), self.prev_done.copy()
            self._begin(rows)
            obs = self.state.T.astype(np.float32)
        return obs, reward, terminated, truncated, info

    def get_state(self) -> dict[str, Any]:
        """Everything a step depends on."""
        return {"state": np.array(self.state), "steps": self.steps.copy(), "episode": self.episode.copy()}

    def set_state(self, state: dict[str, Any]) -> Any:
        """The inverse of `get_state`; returns the current observations."""
        self.state = np.asarray(state["state"]).copy()
        self.steps = np.asarray(state["steps"]).copy()
        self.episode = np.asarray(state["episode"]).copy()
        self.prev_done[:] = False
        return self.state.T.astype(np.float32)


class NativeVectorEnv:
    """A gymnasium `VectorEnv` with same-step autoreset.

    The grade is `exact` if it has ``get_state()`` (plain values and arrays) and ``set_state(state) -> obs``, otherwise
    `boundary`: a resumed run then begins new episodes.
    """

    def __init__(self, config: EnvConfig, run_seed: int, rows: range) -> None:
        self.offset, self.n_envs = rows.start, len(rows)
        self._env = _make(config, self.n_envs)
        mode = self._env.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.SAME_STEP:
            self._env.close()
            raise ConfigError(
                f"env.backend: native {config.name} resets with {getattr(mode, 'name', mode)}, which mixes junk "
                "transitions into the rollout; it must reset in the same step. Use backend: sync or async."
            )
        if isinstance(self._env, SameStepCartPole):
            self._env.seeds = [EpisodeSeeds(run_seed, index) for index in rows]
        self._exact = hasattr(self._env, "get_state") and hasattr(self._env, "set_state")
        self.grade: Grade = "exact" if self._exact else "boundary"
        self.observation_space: spaces.Space[Any] = self._env.single_observation_space
        self.action_space: spaces.Space[Any] = self._env.single_action_space
        self._starts = EpisodeSeeds(run_seed, self.offset, Stream.EPISODES)
        self._start = -1
        self._ret = np.zeros(self.n_envs)
        self._length = np.zeros(self.n_envs, dtype=np.int64)

    def set_level(self, level: int) -> None:
        raise AssertionError("a curriculum with this backend is refused by make_vector")

    def reset(self) -> Obs:
        self._start += 1
        self._ret[:], self._length[:] = 0.0, 0
        obs: Obs = self._env.reset(seed=self._starts[self._start])[0]
        return obs

    def step(self, actions: np.ndarray) -> StepResult:
        obs, reward, terminated, truncated, info = self._env.step(actions)
        self._ret += reward
        self._length += 1
        finals: list[tuple[int, Any]] = []
        episodes: list[Episode] = []
        for row in np.flatnonzero(terminated | truncated).tolist():
            finals.append((row, tree_map(lambda part, row=row: part[row], info["final_obs"])))
            episodes.append(Episode(self.offset + row, float(self._ret[row]), int(self._length[row]), None))
            self._ret[row], self._length[row] = 0.0, 0
        return StepResult(obs, np.asarray(reward, dtype=np.float64), terminated, truncated, finals, episodes)

    def capture(self) -> list[dict[str, Any]]:
        own = self._env.get_state() if self._exact else {}
        state = {"start": self._start, "ret": self._ret.copy(), "length": self._length.copy(), "own": own}
        return [state] + [{} for _ in range(self.n_envs - 1)]

    def restore(self, states: list[dict[str, Any]]) -> tuple[Obs, list[int]]:
        state = states[0]
        self._start = int(state["start"])
        if not self._exact:
            return self.reset(), list(range(self.n_envs))
        obs: Obs = self._env.set_state(state["own"])
        self._ret, self._length = np.asarray(state["ret"]).copy(), np.asarray(state["length"]).copy()
        return obs, []

    def close(self) -> None:
        self._env.close()


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
    except gym.error.Error as error:
        text = str(error).splitlines()[0].rstrip(".")
        raise ConfigError(f"env.backend: native is not there for {config.name} ({text}). Use sync or async.") from None
