"""What a sweep is: the record behind a sweep file."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

from lit_rl.errors import ConfigError, did_you_mean
from lit_rl.ops.limits import SEEDS, at_least, check_record, check_value, refuse_unknown
from lit_rl.training.metrics import METRICS, is_metric
from lit_rl.tuning.space import Dimension

JOURNAL = "study.journal"
"""What Optuna keeps of a study."""
NEEDED = ("run", "study", "search")
MAY_CHANGE = ("run", "study", "trials")
"""What a study that goes on may be given anew."""
_OURS = (
    "name", "mode", "requeue", "view", "pause_at", "ckpt_path", "seed_everything", "resume", "model.class_path",
    "model",
)  # fmt: skip
"""Keys that say how a trial is run, or what is tuned."""


@dataclass
class Sweep:
    """A search over settings.

    Args:
        run: the run.yaml that is varied.
        study: directory of the study: its journal and its trials.
        search: how each key varies, by dotted key.
        trials: how many the study is to have, the failed and pruned ones among them.
        metric: what is looked at, by its name in docs/metrics.md.
        value: the `last` of its values in a run, or the `best`.
        direction: whether more is better.
        sampler: `tpe`, `random`, or `grid` (every combination of choices and of whole numbers, in order).
        seed: of the sampler.
        pruner: `none`, `median` or `hyperband`: whether a trial that does worse than others ends early.
        seeds: each trial is trained with each of these, and their mean counts; `null`: with the file's own seed.
    """

    LIMITS: ClassVar = {"trials": at_least(1), "seed": SEEDS, "seeds": SEEDS}

    run: str
    study: str
    search: dict[str, Any]
    trials: int = 50
    metric: str = "rollout/ep_rew_mean"
    value: Literal["last", "best"] = "last"
    direction: Literal["maximize", "minimize"] = "maximize"
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    seed: int = 0
    pruner: Literal["none", "median", "hyperband"] = "none"
    seeds: list[int] | None = None
    dimensions: list[Dimension] = field(init=False, default_factory=list)

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Sweep:
        """Of a sweep file's keys.

        Raises:
            ConfigError: one is unknown, missing or wrong.
        """
        refuse_unknown(plain, keys(), "sweep")
        for key in NEEDED:
            if plain.get(key) is None:
                raise ConfigError(f"sweep: {key} is missing; a sweep needs {', '.join(NEEDED)}.")
        return cls(**plain)

    def __post_init__(self) -> None:
        check_record(self, "")
        for i, seed in enumerate(self.seeds or []):
            check_value(seed, int, f"seeds[{i}]", SEEDS)
        if self.seeds is not None and (not self.seeds or len(set(self.seeds)) < len(self.seeds)):
            raise ConfigError("seeds: list each seed once, such as [1, 2].")
        if self.pruner != "none" and len(self.seeds or []) > 1:
            raise ConfigError("pruner: a trial of several seeds is not pruned; give none, or one seed.")
        if not is_metric(self.metric):
            raise ConfigError(f"metric: no run logs '{self.metric}'.{did_you_mean(self.metric, METRICS)}")
        if not self.search:
            raise ConfigError("search: is empty; name a key, such as model.gamma: {uniform: [0.9, 0.999]}.")
        self.dimensions = [Dimension.from_plain(str(key), plain) for key, plain in self.search.items()]
        for each in self.dimensions:
            if each.key in _OURS or each.key.split(".")[0] == "resume" or each.key == "trainer.default_root_dir":
                raise ConfigError(f"search.{each.key}: is not searched over; it says how a trial is run.")
            if self.sampler == "grid" and each.kind not in ("choice", "int"):
                raise ConfigError(f"search.{each.key}: a grid takes choice or int, not {each.kind}.")

    @property
    def wanted(self) -> int:
        """How many trials there are at the most."""
        if self.sampler != "grid":
            return self.trials
        sizes = [
            len(each.values) if each.kind == "choice" else (each.values[1] - each.values[0]) // each.step + 1
            for each in self.dimensions
        ]
        return min(self.trials, math.prod(sizes))

    @property
    def plain(self) -> dict[str, Any]:
        """As a sweep file has it, every key given."""
        return {key: getattr(self, key) for key in keys()} | {"search": {d.key: d.plain for d in self.dimensions}}


def keys() -> list[str]:
    """What may stand in a sweep file."""
    return [each.name for each in fields(Sweep) if each.init]


def check_same(sweep: Sweep, begun: Sweep) -> None:
    """Refuse to go on with a study that has begun as another.

    Raises:
        ConfigError: names the first key that differs.
    """
    ours, theirs = sweep.plain, begun.plain
    for key in ours:
        if key not in MAY_CHANGE and (ours[key] != theirs[key] or list(ours["search"]) != list(theirs["search"])):
            raise ConfigError(
                f"{key}: the study {sweep.study} has begun with another; name a new study, or take the change back."
            )
