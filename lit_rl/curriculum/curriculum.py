"""The curriculum of a run: which levels there are, what is played next, and what happened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lit_rl.curriculum.adapting import adapting
from lit_rl.curriculum.assignment import Assignment, made_values, on_level
from lit_rl.curriculum.checks import check_no_rules
from lit_rl.curriculum.choice import Weighted
from lit_rl.curriculum.config import CurriculumConfig, DimensionConfig
from lit_rl.curriculum.dimension import Dimension, LevelChange
from lit_rl.curriculum.grounds import merged, own_levels
from lit_rl.curriculum.levels import Level
from lit_rl.curriculum.listed import Listed
from lit_rl.curriculum.sampled import Sampled
from lit_rl.data.episode import Episode
from lit_rl.errors import ConfigError
from lit_rl.ops.streams import generator

KEY = "curriculum"


class Curriculum:
    """The curriculum of one run; equal on every rank that is given the same outcomes.

    One iteration is: every episode that begins takes its task from the `assignment` of the boundary before; then
    `record` with what finished, `record_evaluation` of the dimensions that `judged_on` names after an evaluation, and
    `advance`. An episode is on one level of each dimension; most curricula have one dimension. The levels of all
    together are `levels`, by whose indices episodes name them.

    Args:
        config: the block of the YAML, or a list of levels alone.
        n_envs: environments of all ranks.
        run_seed: the run's seed.

    Raises:
        ConfigError: at the first mistake.
    """

    def __init__(
        self, config: CurriculumConfig | Sequence[Level | Mapping[str, Any]], n_envs: int = 1, run_seed: int = 0
    ) -> None:
        if not isinstance(config, CurriculumConfig):
            config = CurriculumConfig.from_plain({"levels": config})
        if config.is_empty:
            raise ConfigError("curriculum.levels: empty; give at least one level, or leave the curriculum out.")
        blocks = config.each()
        own = {name: own_levels(block, _key(name)) for name, block in blocks.items()}
        self.dimensions: dict[str, Dimension] = {
            name: _dimension(name, block, own[name], n_envs, run_seed) for name, block in blocks.items()
        }
        self._sizes = tuple(len(levels) for levels in own.values())
        self._check_seeds()
        self.levels = merged(own, config)
        """Of all dimensions together, the last dimension's fastest."""
        self.bounds = adapting(config, self.levels)
        """Those of parameters that adapt; `None` without such."""
        made = [each for level in self.levels for each in made_values(level).values()]
        self._follows_time = any(each.follows_time for each in made)
        self.draws = bool(made)
        """Whether an episode has values of its own."""
        self._assignment = Assignment()

    def _check_seeds(self) -> None:
        """An episode has one reset, and so one seed of a level."""
        choices = [each.choice() for each in self.dimensions.values()]
        if sum(isinstance(choice, Weighted) and choice.seeds is not None for choice in choices) > 1:
            raise ConfigError("curriculum.dimensions: two of them choose seeds; give `seeds: null` to all but one.")

    # -- what is asked -------------------------------------------------------------------------------------------

    @property
    def _only(self) -> Dimension | None:
        """The dimension of a curriculum without several."""
        return self.dimensions.get("")

    @property
    def current(self) -> int | None:
        """Index of the level that is current for the whole run; `None` where levels are chosen episode by episode."""
        found = 0
        for dimension, size in zip(self.dimensions.values(), self._sizes, strict=True):
            if dimension.current is None:
                return None
            found = found * size + dimension.current
        return found

    @property
    def height(self) -> int:
        """How far the current levels are from the first ones, over all dimensions: what a score belongs to."""
        return sum(dimension.current or 0 for dimension in self.dimensions.values())

    @property
    def top(self) -> int:
        """The height of the last levels; 0 where none is current."""
        sizes = zip(self.dimensions.values(), self._sizes, strict=True)
        return sum(size - 1 for dimension, size in sizes if dimension.current is not None)

    @property
    def promotes(self) -> bool:
        """Whether there is a current level that moves for the whole run."""
        return any(dimension.current is not None for dimension in self.dimensions.values())

    @property
    def needs_evaluation(self) -> bool:
        """Whether something waits for evaluations, so that a run without them would never go on."""
        return any(dimension.needs_evaluation for dimension in self.dimensions.values())

    @property
    def wants_scores(self) -> bool:
        """Whether episodes must have a `score`."""
        return any(dimension.wants_scores for dimension in self.dimensions.values())

    @property
    def history(self) -> list[LevelChange]:
        """Every step to another level, in order."""
        lists = [each for each in self.dimensions.values() if isinstance(each, Listed)]
        return sorted((change for each in lists for change in each.history), key=lambda change: change.timesteps)

    def assignment(self, timesteps: int) -> Assignment:
        """What the episodes that begin now are played on; the same object where nothing has changed.

        `timesteps`: of the whole run so far.
        """
        now = Assignment(
            tuple(dimension.choice() for dimension in self.dimensions.values()),
            self._sizes,
            timesteps if self._follows_time else 0,
            None if self.bounds is None else self.bounds.bounds(),
        )
        if now != self._assignment:
            self._assignment = now
        return self._assignment

    def evaluated(self, level: int, timesteps: int) -> Assignment:
        """What the episodes of an evaluation on one level are played on: ramps and bounds as they are now."""
        bounds = None if self.bounds is None else replace(self.bounds.bounds(), boundary=0.0)
        return on_level(level, timesteps, bounds)

    # -- an iteration --------------------------------------------------------------------------------------------

    def record(self, outcomes: Sequence[Episode], timesteps: int) -> None:
        """Take in one iteration: its outcomes in the fixed order, and its timesteps over all environments."""
        for name, each in self._split(outcomes).items():
            self.dimensions[name].record(each, timesteps)
        if self.bounds is not None:
            self.bounds.record(outcomes)

    def _split(self, outcomes: Sequence[Episode]) -> dict[str, Sequence[Episode]]:
        """The outcomes as each dimension sees them: on its own levels."""
        if self._only is not None:
            return {"": outcomes}
        found: dict[str, list[Episode]] = {name: [] for name in self.dimensions}
        for outcome in outcomes:
            level = outcome.level
            for name, size in zip(reversed(self.dimensions), reversed(self._sizes), strict=True):
                level, at = divmod(level, size)
                found[name].append(replace(outcome, level=at))
        return dict(found)

    def judged_on(self) -> dict[str, list[int]]:
        """The levels whose evaluation counts for a dimension's rules: those that are on its own current level."""
        found: dict[str, list[int]] = {}
        below = len(self.levels)
        for (name, dimension), size in zip(self.dimensions.items(), self._sizes, strict=True):
            below //= size
            if dimension.current is not None:
                found[name] = [i for i in range(len(self.levels)) if i // below % size == dimension.current]
        return found

    def advance(self, timesteps: int) -> list[LevelChange]:
        """The check at the end of an iteration: levels change where a rule is due, by one at most in each dimension.

        `timesteps`: of the whole run so far.
        """
        changes = [dimension.advance(timesteps) for dimension in self.dimensions.values()]
        return [change for change in changes if change is not None]

    # -- what is said --------------------------------------------------------------------------------------------

    def metrics(self) -> dict[str, float]:
        """Numbers to log: those of each dimension, and of bounds that adapt."""
        found: dict[str, float] = {}
        for name, dimension in self.dimensions.items():
            prefix = f"{KEY}/{name}/" if name else f"{KEY}/"
            found |= {f"{prefix}{key}": value for key, value in dimension.metrics().items()}
        if self.bounds is not None:
            found |= {f"{KEY}/{key}": value for key, value in self.bounds.metrics().items()}
        return found

    def in_short(self) -> str:
        """Where it stands in a word or two, for a line that has no room."""
        levels = [str(each.current) for each in self.dimensions.values() if each.current is not None]
        return f"level {'/'.join(levels)}" if levels else f"{len(self.levels)} levels"

    def describe(self) -> str:
        """Where it stands in a few words, such as `2 of 0 to 5, 'far'`."""
        said = [f"{name}: {each.describe()}" if name else each.describe() for name, each in self.dimensions.items()]
        return "; ".join(said)

    # -- state ---------------------------------------------------------------------------------------------------

    def start_at(self, level: int) -> None:
        """Begin at another level than 0, with empty counts and history (a warmstart).

        Raises:
            ConfigError: there is no such level.
        """
        if self._only is None and level:
            names = ", ".join(self.dimensions)
            raise ConfigError(
                f"warmstart.level: is {level}, and there are several dimensions ({names}); use 0 or carry."
            )
        for dimension in self.dimensions.values():
            dimension.start_at(level)

    def carry(self, state: Mapping[str, Any]) -> None:
        """Begin where another run's state stands: on its level, found by name, or with what it knows of its levels.

        Raises:
            ConfigError: it is of another curriculum.
        """
        for name, dimension in self.dimensions.items():
            own = state if not name else state.get("dimensions", {}).get(name)
            if own is None:
                raise ConfigError(f"warmstart.level: carry needs a run with the dimension '{name}'; give 0.")
            dimension.carry(own)
        if self.bounds is not None and state.get("bounds"):
            self.bounds.load_state_dict(state["bounds"])

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next assignment depends on, as plain values."""
        only = self._only
        if only is not None:
            state = only.state_dict()
        else:
            state = {"dimensions": {name: each.state_dict() for name, each in self.dimensions.items()}}
        return state if self.bounds is None else {**state, "bounds": self.bounds.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The reverse of `state_dict`. With other levels or another strategy, what still means something goes on.

        Raises:
            ConfigError: the current level is gone.
        """
        for name, dimension in self.dimensions.items():
            dimension.load_state_dict(state if not name else state.get("dimensions", {}).get(name, {}))
        if self.bounds is not None and state.get("bounds"):
            self.bounds.load_state_dict(state["bounds"])


def _key(name: str) -> str:
    """What error messages call a dimension's block."""
    return f"{KEY}.dimensions.{name}" if name else KEY


def _dimension(name: str, block: DimensionConfig, levels: Sequence[Level], n_envs: int, run_seed: int) -> Dimension:
    key = _key(name)
    is_list = block.schedule in ("list", {"strategy": "list"})
    if isinstance(block.schedule, dict) and block.schedule.get("strategy") == "list" and not is_list:
        raise ConfigError(f"{key}.schedule: list takes no options; its rules stand with the levels.")
    if block.sample is None and is_list:
        if block.n_levels is not None and block.n_levels > 1:
            raise ConfigError(
                f"{key}.n_levels: levels without rules are for schedule: ladder, or for sample; give one of both, or a "
                "list of levels."
            )
        return Listed(levels, f"{key}.levels", name)
    if block.sample is not None and not is_list:
        raise ConfigError(f"{key}.sample: given together with schedule {block.schedule!r}; give one of both.")
    which = "schedule" if block.sample is None else "sample"
    check_no_rules(levels, f"{key}.{which}", f"{key}.levels")
    spec = block.schedule if block.sample is None else block.sample
    seed = int(generator(run_seed, f"dimension {name}").integers(2**31)) if name else run_seed
    return Sampled([level.name for level in levels], spec, f"{key}.{which}", n_envs, seed, f"{key}.levels", name)


def make_curriculum(
    config: CurriculumConfig | Mapping[str, Any] | None, n_envs: int, run_seed: int = 0
) -> Curriculum | None:
    """The curriculum of a run of `n_envs` environments; `None` for one without.

    Raises:
        ConfigError: at the first mistake.
    """
    config = config if isinstance(config, CurriculumConfig) else CurriculumConfig.from_plain(config or {})
    if config.is_empty:
        return None
    curriculum = Curriculum(config, n_envs, run_seed)
    for dimension in curriculum.dimensions.values():
        dimension.check_envs(n_envs)
    return curriculum
