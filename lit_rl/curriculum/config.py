"""What the `curriculum` block of a run's YAML says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self

from lit_rl.curriculum.levels import Level, read_levels
from lit_rl.errors import ConfigError
from lit_rl.ops.limits import at_least, check_record, known_only

# Bare `dict`s, for the reason that stands in levels.py.


@dataclass
class DimensionConfig:
    """Levels of one kind, beside those of others.

    Args:
        levels: in their order.
        n_levels: so many levels, named by their numbers, in the place of a list; ramps over levels say what differs.
        schedule: as of a curriculum.
        sample: as of a curriculum.
        env_kwargs: of every level; a level's own come over them.
        attributes: of every level; a level's own come over them.
        set_level: of every level that does not give its own.
    """

    LIMITS: ClassVar = {"n_levels": at_least(1)}

    levels: list[Level] = field(default_factory=list)
    n_levels: int | None = None
    schedule: str | dict = "list"  # type: ignore[type-arg]
    sample: str | dict | None = None  # type: ignore[type-arg]
    env_kwargs: dict = field(default_factory=dict)  # type: ignore[type-arg]
    attributes: dict = field(default_factory=dict)  # type: ignore[type-arg]
    set_level: Any = None

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any], key: str = "curriculum") -> Self:
        """From nested dictionaries, as they stand in a YAML file or a checkpoint; `key` is what errors call the block.

        Raises:
            ConfigError: a key is not known, or a value is of another kind; names it.
        """
        values = known_only(plain, cls, key)
        made = cls(**{**values, "levels": read_levels(values.get("levels") or [], f"{key}.levels")})
        check_record(made, key)
        return made


@dataclass
class CurriculumConfig(DimensionConfig):
    """The levels of a run, and how an episode comes to one of them.

    Args:
        levels: in their order; none for a run without a curriculum.
        n_levels: so many levels, named by their numbers, in the place of a list; ramps over levels say what differs.
        schedule: `list` has one current level for the whole run, which moves by the rules `promote` and `demote` of the
            levels; `ladder` has one for each environment. A mapping `{strategy: ladder, ...}` gives options too.
        sample: how the level of each episode is drawn among all levels, in the place of a schedule: `uniform`,
            `weights`, `learnability`, `progress`, `replay`, a mapping `{strategy: ..., ...}` with options, or one of
            your own, `{class_path, init_args}`; null: as `schedule` says.
        env_kwargs: of every level, values or what makes them; a level's own come over them.
        attributes: of every level, values or what makes them; a level's own come over them.
        set_level: of every level that does not give its own.
        dimensions: several kinds of levels at once, by name, each with keys of its own: `levels`, `n_levels`,
            `schedule`, `sample`, `env_kwargs`, `attributes`, `set_level`. An episode is on one level of each.
        adr: how the bounds of parameters given as `{adr: {start, limits, step}}` move: `{widen, narrow, metric, queue,
            boundary}`.
        visible: whether the level's index and the parameters made for an episode stand behind its observation.
    """

    dimensions: dict = field(default_factory=dict)  # type: ignore[type-arg]
    adr: dict | None = None  # type: ignore[type-arg]
    visible: bool = False

    def __post_init__(self) -> None:
        self.sample, self.adr = self.sample or None, self.adr or None  # jsonargparse makes {} of a null now and then
        check_record(self, "curriculum")

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked for: a run without a curriculum."""
        return self == CurriculumConfig()

    def each(self) -> dict[str, DimensionConfig]:
        """The dimensions by name; the only one of a curriculum without `dimensions` has an empty name.

        Raises:
            ConfigError: a key is not known, or keys are given that belong to a dimension.
        """
        own = [each.name for each in fields(DimensionConfig)]
        if not self.dimensions:
            return {"": DimensionConfig(**{name: getattr(self, name) for name in own})}
        default = DimensionConfig()
        for name in ("levels", "n_levels", "schedule", "sample", "set_level"):
            if getattr(self, name) != getattr(default, name):
                raise ConfigError(f"curriculum.{name}: given beside dimensions; write it under one of these.")
        at = "curriculum.dimensions"
        for name in self.dimensions:
            if not isinstance(name, str) or not name or "/" in name:
                raise ConfigError(
                    f"{at}: {name!r} is no name of a dimension; give a word without /, in quotes if need be."
                )
        return {str(name): DimensionConfig.from_plain(plain, f"{at}.{name}") for name, plain in self.dimensions.items()}
