"""The levels on which success changes fastest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from lit_rl.curriculum.strategies.per_level import check_per_level, per_level
from lit_rl.curriculum.strategies.sampler import Sampler
from lit_rl.data.episode import Episode
from lit_rl.ops.limits import Limit, check_value

_BELOW_ONE = Limit(0.0, math.nextafter(1.0, 0.0))


@dataclass(frozen=True)
class _Averages:
    """Of one level: two of its normalised success rate, and a fast one of the rate itself."""

    fast: float
    slow: float
    rate: float


class ProgressSampler(Sampler):
    """By bidirectional learning progress: how far a fast average of a level's success is from a slow one.

    Once an iteration, for every level that had episodes with mean success r::

        p       = max(r - random, 0) / (1 - random)
        fast   <- alpha * p + (1 - alpha) * fast
        slow   <- alpha * fast + (1 - alpha) * slow
        f(p)    = (1 - theta) * p / (p + theta * (1 - 2 p))
        progress = |f(fast) - f(slow)|

    All averages start at the first value. Among the levels with progress or any success, the weight is the sigmoid of
    the z-score of the progress; the others have none. After Kanitscheider et al. 2021, *Multi-task curriculum learning
    in a complex, visual, hard-exploration domain: Minecraft* (2106.14876), and the online form of Syllabus.

    alpha: of the averages; the larger, the shorter their memory.
    theta: of the reweighting f, which shows changes of rare successes larger than those of frequent ones.
    random: success rate of a random policy: of all levels, by the names of the levels, or a list in their order.
    window: of the last episodes of each level, over which its success rate is logged.
    uniform: share of the episodes that is drawn from all levels alike.
    success_at: an episode is a success at this return or above; null: as the environment says.
    """

    NAME: ClassVar[str] = "progress"

    def __init__(
        self,
        alpha: float = 0.1,
        theta: float = 0.1,
        random: float | Mapping[str, float] | Sequence[float] = 0.0,
        window: int = 50,
        uniform: float = 0.25,
        success_at: float | None = None,
    ) -> None:
        super().__init__(window, uniform, success_at)
        check_value(alpha, float, "alpha", Limit(0.0, 1.0, without_low=True))
        check_value(theta, float, "theta", Limit(0.0, math.nextafter(1.0, 0.0), without_low=True))
        if isinstance(random, Mapping | list | tuple):
            check_per_level(random, "random", _BELOW_ONE)
        else:
            check_value(random, float, "random", _BELOW_ONE)
        self.alpha, self.theta, self.random = float(alpha), float(theta), random

    def begin(self, names: Sequence[str], n_envs: int, run_seed: int) -> None:
        """Also checks the names that `random` is given by."""
        if isinstance(self.random, Mapping | list | tuple):
            self._random = per_level(self.random, names, "random")
        else:
            self._random = [float(self.random)] * len(names)  # type: ignore[arg-type]
        super().begin(names, n_envs, run_seed)

    def reset(self) -> None:
        """Begin without averages."""
        super().reset()
        self._averages: list[_Averages | None] = [None] * len(self.names)

    def record(self, outcomes: Sequence[Episode]) -> None:
        """One step of the averages of every level that had episodes."""
        super().record(outcomes)
        successes: dict[int, list[float]] = {}
        for outcome in outcomes:
            successes.setdefault(outcome.level, []).append(self.success(outcome) or 0.0)
        for level, values in successes.items():
            self._step(level, math.fsum(values) / len(values))

    def _step(self, level: int, rate: float) -> None:
        random, a = self._random[level], self.alpha
        p = max(rate - random, 0.0) / (1.0 - random)
        old = self._averages[level]
        if old is None:
            self._averages[level] = _Averages(p, p, rate)
        else:
            fast = a * p + (1.0 - a) * old.fast
            self._averages[level] = _Averages(fast, a * fast + (1.0 - a) * old.slow, a * rate + (1.0 - a) * old.rate)

    def progress(self) -> list[float]:
        """The learning progress of each level; 0 before its first episode."""
        return [abs(self._f(a.fast) - self._f(a.slow)) if a else 0.0 for a in self._averages]

    def _f(self, p: float) -> float:
        return (1.0 - self.theta) * p / (p + self.theta * (1.0 - 2.0 * p))

    def weights(self) -> list[float]:
        """The sigmoid of the z-score of the progress, where there is progress or success."""
        progress = self.progress()
        at = [i for i, a in enumerate(self._averages) if a and (progress[i] > 0.0 or a.rate > 0.0)]
        weights = [0.0] * len(progress)
        if at:
            mean = math.fsum(progress[i] for i in at) / len(at)
            deviation = math.sqrt(math.fsum((progress[i] - mean) ** 2 for i in at) / len(at))
            for i in at:
                weights[i] = _sigmoid((progress[i] - mean) / deviation) if deviation > 0.0 else 0.5
        return weights

    def metrics(self) -> dict[str, float]:
        """Those of every sampler, and the progress of every level."""
        progress = dict(zip(self.names, self.progress(), strict=True))
        return {**super().metrics(), **{f"progress/{name}": value for name, value in progress.items()}}

    def state_dict(self) -> dict[str, Any]:
        """The windows, and the averages of every level that has them."""
        averages = {name: asdict(a) for name, a in zip(self.names, self._averages, strict=True) if a}
        return {**super().state_dict(), "averages": averages}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The reverse of `state_dict`."""
        super().load_state_dict(state)
        saved = state["averages"]
        self._averages = [_Averages(**saved[name]) if name in saved else None for name in self.names]


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))
