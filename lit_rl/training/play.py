"""Playing: the environments of this rank, what they show now, and the moments it is normalised with.

Shapes: N environments of this rank.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from gymnasium import spaces

from lit_rl.curriculum import Level
from lit_rl.curriculum.assignment import Assignment
from lit_rl.data.episode import Episode
from lit_rl.envs.config import EnvConfig
from lit_rl.envs.failures import EnvironmentFailed
from lit_rl.envs.guard import check_obs, check_step
from lit_rl.envs.make import make_vector
from lit_rl.envs.normalize import Normalizer
from lit_rl.envs.raw import OwnSpaces, RawSpaces
from lit_rl.envs.vector import StepResult, VectorEnv
from lit_rl.errors import ConfigError
from lit_rl.ops.tree import Obs, tree_map
from lit_rl.ranks.group import Ranks
from lit_rl.state.plain import with_arrays
from lit_rl.state.records import Counters
from lit_rl.state.space import describe
from lit_rl.training.evaluation import evaluation_envs

T = TypeVar("T")


class Play:
    """What an algorithm plays with: `step` the environments, then `finish` what was collected.

    Between the two it counts steps and remembers the episodes that ended. As a part of a rank's state it is the
    environments in flight, and what is kept beside them for each.

    Args:
        config: the environments.
        seed: the run's seed.
        levels: of the curriculum; empty without one.
        counters: of the run.
        lockstep: whether all ranks do each step together, so that any number of them comes to the same moments.
    """

    normalizer: Normalizer

    def __init__(
        self, config: EnvConfig, seed: int, levels: Sequence[Level], counters: Counters, lockstep: bool = False
    ) -> None:
        self._config, self._seed, self._levels, self._counters = config, seed, levels, counters
        self.lockstep = lockstep
        self.ranks = Ranks()
        self.envs: VectorEnv | None = None
        self.spaces: tuple[spaces.Space[Any], spaces.Space[Any]] | None = None
        """Observation and action space of one environment, before normalisation; `None` before they are known."""
        self.own_spaces: OwnSpaces | None = None
        """Those of the environment as its user made it; `None` where they are not known."""
        self.obs: Obs | None = None
        """What the environments show now, as they sent it: [N, ...]."""
        self.policy_obs: Any = None
        """The same as the policy sees it."""
        self.resuming = False
        """Whether the environments are made to go on with a run."""
        self.restarted: list[int] = []
        """Environments (their positions on this rank) whose episode in flight could not be brought back at a resume."""
        self.ended: list[Episode] = []
        """Episodes of all ranks that ended before the last `finish`, in the order (step, environment)."""
        self.ended_at: list[int] = []
        """The step at which each of them ended, counted from the `finish` before."""
        self.broken: list[tuple[int, int]] = []
        """(step, environment) of all episodes of all ranks that were lost in that time."""
        self._assignment: Assignment | None = None
        self.foreign: str | None = None
        """What only a checkpoint names, and would be imported to make the environments; they are not made then."""
        self._steps = self._taken = 0
        self._awake: np.ndarray | None = None
        self._episodes: list[tuple[int, Episode]] = []
        self._restarts = 0
        self._broken: list[tuple[int, int]] = []

    # -- building ------------------------------------------------------------------------------------------------

    def build(self) -> VectorEnv:
        """Make this rank's environments, once."""
        if self.envs is None:
            self._refuse_foreign()
            rows = self.ranks.rows(self._config.n_envs)
            self._assignment = None
            self.envs = make_vector(self._config, self._seed, rows, self._levels, self.ranks.local_size, self.resuming)
            if self.spaces is not None:
                self.check_spaces(*self.spaces, of="this environment")
            self.spaces = (self.envs.observation_space, self.envs.action_space)
            self.own_spaces = self.envs.own_spaces
        return self.envs

    def build_for_evaluation(self, longest: int | None = None) -> VectorEnv:
        """Make an environment for evaluation in this process, with episode seeds of its own, once.

        Episodes of more than `longest` steps are cut off there.
        """
        if self.envs is None:
            self._refuse_foreign()
            self.envs = evaluation_envs(self._config, self._seed, 1, self._levels, longest=longest)
            self.spaces = self.spaces or (self.envs.observation_space, self.envs.action_space)
            self.own_spaces = self.own_spaces or self.envs.own_spaces
        return self.envs

    def _refuse_foreign(self) -> None:
        if self.foreign is not None:
            raise ConfigError(
                f"the checkpoint names {self.foreign}, which would be imported; pass env to load_from_checkpoint to "
                "import it."
            )

    def build_normalizer(self, gamma: float) -> Normalizer:
        """Make the moments for the spaces at hand."""
        assert self.spaces is not None
        self.normalizer = Normalizer(
            self._config.normalize,
            self.spaces[0],
            gamma,
            len(self.ranks.rows(self._config.n_envs)),
            gather=None if self.ranks.alone else self.ranks.gather_rows,
            in_step=self.lockstep,
        )
        return self.normalizer

    def check_spaces(
        self, observation: spaces.Space[Any], action: spaces.Space[Any], of: str, way_out: str = ""
    ) -> None:
        """Compare `observation` and `action` with the spaces of the environments. An error ends with `way_out`.

        Raises:
            ConfigError: they differ in what weights depend on.
        """
        assert self.envs is not None
        for what, theirs, ours in (
            ("observation", observation, self.envs.observation_space),
            ("action", action, self.envs.action_space),
        ):
            if describe(theirs) != describe(ours):
                raise ConfigError(
                    f"the {what} space of {of} is {describe(theirs)}, but env {self._config.name} has "
                    f"{describe(ours)}.{way_out}"
                )

    def raw_spaces(self) -> RawSpaces:
        """Between an environment as its user made it and the run.

        Raises:
            ConfigError: the spaces are not known yet.
        """
        if self.spaces is None:
            raise ConfigError("predict: there is no policy yet; train the module, or load one with lit_rl.load(path).")
        return RawSpaces(*self.spaces, self.own_spaces, self._config.n_stack)

    def close(self) -> None:
        """End the environments."""
        if self.envs is not None:
            self.envs.close()
            self.envs = None

    # -- playing -------------------------------------------------------------------------------------------------

    @property
    def timesteps(self) -> int:
        """Where the run stands, with the steps that are not finished."""
        if self.envs is None:
            return self._counters.timesteps
        return self._counters.timesteps + self._taken * self._config.n_envs // self.envs.n_envs

    def begin(self) -> None:
        """Begin the first episodes. (`load_state_dict` brings back those of a checkpoint.)"""
        envs = self.build()
        self._keep_own_moments()
        with self._at(self.timesteps):
            self.obs = envs.reset()
        check_obs(self.obs, envs.offset, self.timesteps)
        self.normalizer.update_obs(self.obs)
        if self._moments_apart:
            self.normalizer.merge(self.ranks.gather(self.normalizer.own))
        self.show()

    @property
    def levels(self) -> np.ndarray:
        """int64 [N], index of the curriculum's level that each environment's episode is played on; do not write."""
        assert self.envs is not None
        return self.envs.levels

    @property
    def masks(self) -> np.ndarray | None:
        """bool [N, M], which actions each environment allows now (`envs.masks`); `None` where they do not say."""
        assert self.envs is not None
        return self.envs.masks

    def rest(self, resting: np.ndarray) -> None:
        """From here on step only the others: bool [N]. Nothing of those that rest counts, or is folded in."""
        self.build().rest(resting)
        self._awake = np.flatnonzero(~resting) if resting.any() else None

    def step(self, actions: np.ndarray) -> StepResult:
        """Step every environment that does not rest, and fold what it shows into the moments.

        `obs` and `policy_obs` are what they show then.

        Args:
            actions: [N, ...] as the environments take them.

        Raises:
            EnvironmentFailed: one was lost, or sent what it may not; no moments have been touched.
        """
        assert self.envs is not None
        timesteps = self.timesteps
        try:
            result = self.envs.step(actions)
        except EnvironmentFailed as error:
            error.timesteps = timesteps
            raise
        check_step(result, self.envs.offset, timesteps)
        self._restarts += len(result.restarts)
        for restart in result.restarts:
            self._broken += [(self._steps, self.envs.offset + row) for row in restart.rows]
        self._episodes += [(self._steps, episode) for episode in result.episodes]
        self._steps += 1
        self.obs = result.obs
        if self._awake is None:
            self._taken += self.envs.n_envs
            self.normalizer.update_obs(result.obs)
        else:
            self._taken += len(self._awake)
            self.normalizer.update_obs(tree_map(lambda part: part[self._awake], result.obs))
        self.policy_obs = self.normalizer.normalize_obs(result.obs)
        return result

    def finish(self, shared: T) -> list[T]:
        """What all ranks have played since the last call: counted, and moments agreed on. Every rank calls it.

        Args:
            shared: what else this rank gives to the others.

        Returns:
            what each rank gave, in rank order.
        """
        own = self.normalizer.own if self._moments_apart else []
        of_all = self.ranks.gather((self._taken, self._episodes, self._broken, own, shared))
        ended = [each for _, episodes, *_ in of_all for each in episodes]
        self.broken = sorted(each for _, _, broken, *_ in of_all for each in broken)
        ended.sort(key=lambda each: (each[0], each[1].env_index))
        self.ended, self.ended_at = [episode for _, episode in ended], [step for step, _ in ended]
        self._counters.timesteps += sum(taken for taken, *_ in of_all)
        self._counters.episodes += len(self.ended)
        self._steps, self._taken, self._episodes, self._broken = 0, 0, [], []
        if self._moments_apart:
            self.normalizer.merge([own for *_, own, _ in of_all])
            self.show()
        return [shared for *_, shared in of_all]

    def settle(self) -> list[int]:
        """Make anew which environments were lost since the last step, where that is wanted; count restarts.

        Returns the indices of those that were, on all ranks.
        """
        if self._config.on_env_crash != "restart":
            return []
        assert self.envs is not None
        restarts = self.envs.settle()
        rows = [row for restart in restarts for row in restart.rows]
        if restarts:
            self.normalizer.returns[rows] = 0.0
            self.show()
        own = (self._restarts + len(restarts), [self.envs.offset + row for row in rows])
        of_all = self.ranks.gather(own)
        self._counters.env_restarts += sum(count for count, _ in of_all)
        self._restarts = 0
        return [env for _, envs in of_all for env in envs]

    def restarted_everywhere(self) -> list[int]:
        """Indices of the environments, on all ranks, whose episode could not be brought back at a resume."""
        assert self.envs is not None
        offset = self.envs.offset
        return [env for envs in self.ranks.gather([offset + row for row in self.restarted]) for env in envs]

    def assign(self, assignment: Assignment) -> None:
        """What the curriculum says from now on: episodes that begin from here on are played on it."""
        if assignment is not self._assignment:
            self._assignment = assignment
            self.build().assign(assignment)

    def show(self) -> None:
        """Look at the current observations with the moments of now."""
        self.policy_obs = self.normalizer.normalize_obs(self.obs)

    @property
    def _moments_apart(self) -> bool:
        """Whether each rank's moments go their own way until `finish`."""
        return not (self.ranks.alone or self.lockstep)

    def _keep_own_moments(self) -> None:
        if self._moments_apart:
            self.normalizer.begin_own()

    @staticmethod
    @contextlib.contextmanager
    def _at(timesteps: int) -> Iterator[None]:
        """Environments that fail in here do so at this timestep of the run."""
        try:
            yield
        except EnvironmentFailed as error:
            error.timesteps = timesteps
            raise

    # -- state ---------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        assert self.envs is not None
        return {
            "grade": self.envs.grade,
            "offset": self.envs.offset,
            "slots": self.envs.capture(),
            "returns": self.normalizer.returns,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._keep_own_moments()
        with self._at(self.timesteps):
            self.obs, self.restarted = self.build().restore(with_arrays(state["slots"]))
        self.normalizer.returns = with_arrays(state["returns"])
        self.normalizer.returns[self.restarted] = 0.0
        self.resuming = False
        self.show()
