"""The `eval` block of a run's YAML, a setting of many algorithms, and which top-level keys are the model's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from lit_rl.curriculum import Curriculum, Level
from lit_rl.errors import ConfigError
from lit_rl.ops.limits import at_least, check_record, known_only

LINKED = {
    "env": "env",
    "seed": "seed_everything",
    "total_timesteps": "total_timesteps",
    "curriculum": "curriculum",
    "evaluation": "eval",
}
"""Arguments of a model, and the top-level keys they are."""

Which = Literal["current", "last", "all"]

Fast = bool | Literal["auto", "compile"]
"""Whether gradients are written by hand where they can be (`auto`), have to be, or never are; or torch.compile's."""


def key_of(setting: str) -> str:
    """The key of a run's YAML that an argument of the model is."""
    return LINKED.get(setting, f"model.{setting}")


@dataclass
class EvalConfig:
    """Evaluation beside training: in environments of its own, with streams of its own.

    Args:
        every: evaluate at the first iteration boundary at or past each multiple of this many timesteps; `null`: never.
        episodes: whole episodes of an evaluation; on each level, where there are several.
        deterministic: the most likely actions; false draws them as in training, from the evaluation's own stream.
        envs: environments that share the episodes.
        level: of the curriculum: the `current` one, the `last` one, or `all` of them. Where each episode has its own,
            none is current, and `current` means `all`.
        stop_on_reward: the run is finished when the mean return of an evaluation reaches this; with a curriculum and
            `level: current`, on its last level only.
        max_episode_steps: an episode that goes on for longer is cut off there, said, and counted as it is; `null` waits
            for its end.
    """

    LIMITS: ClassVar = dict.fromkeys(("every", "episodes", "envs", "max_episode_steps"), at_least(1))

    every: int | None = None
    episodes: int = 10
    deterministic: bool = True
    envs: int = 1
    level: Which = "current"
    stop_on_reward: float | None = None
    max_episode_steps: int | None = 100_000

    def __post_init__(self) -> None:
        check_record(self, "eval")
        if self.stop_on_reward is not None and self.every is None:
            raise ConfigError("eval.stop_on_reward needs evaluations; give eval.every.")

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> EvalConfig:
        """From a dictionary, as it stands in a checkpoint."""
        return cls(**known_only(plain, cls, "eval"))

    def due(self, before: int, now: int) -> bool:
        """Whether a multiple of `every` lies in (before, now]: a function of the timesteps and nothing else."""
        return self.every is not None and now // self.every > before // self.every

    def check_levels(self, levels: Sequence[Level]) -> None:
        """Refuse what only a curriculum gives a meaning."""
        if self.level != "current" and not levels:
            raise ConfigError(f"eval.level: '{self.level}' needs a curriculum; remove it.")

    def played(self, curriculum: Curriculum | None) -> list[int]:
        """The levels of an evaluation made now."""
        if curriculum is None:
            return [0]
        if self.on_all(curriculum):
            return list(range(len(curriculum.levels)))
        return [len(curriculum.levels) - 1 if self.level == "last" else curriculum.current or 0]

    def on_all(self, curriculum: Curriculum | None) -> bool:
        """Whether an evaluation is of all levels."""
        no_current = curriculum is not None and curriculum.current is None
        return self.level == "all" or (self.level == "current" and no_current)
