"""Prioritised level replay: seeds of levels by how much there was to learn from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from lit_rl.curriculum.choice import Weighted
from lit_rl.curriculum.rules.bound import whole_number
from lit_rl.curriculum.strategies.strategy import Strategy
from lit_rl.data.episode import Episode
from lit_rl.errors import ConfigError
from lit_rl.ops.limits import Limit, between, check_value
from lit_rl.ops.streams import generator

_UNIT = between(0.0, 1.0)
Floats = npt.NDArray[np.float64]


class ReplayStrategy(Strategy):
    """Plays again those entries whose episodes scored highest, and now and then a new one.

    An entry is a seed of a level, or a level. With r = `staleness` and b = `temperature`, an entry that was seen is
    played again with probability::

        P   = (1 - r) P_S + r P_C
        P_S ~ (1 / rank of its score) ** (1 / b), or score ** (1 / b)
        P_C ~ episodes since its last one

    and P together has the share `replay`; the rest goes to new entries alike. After Jiang et al. 2021, *Prioritized
    Level Replay* (2010.03934). The score is the algorithm's: the mean absolute advantage of the episode's steps.

    seeds: of each level, the same for all levels; null: an entry is a level, and its episodes have seeds of their own.
    alpha: weight of the newest score of an entry against those before it.
    temperature: b; the smaller, the more goes to the highest scores.
    staleness: r; share of the replay that goes by how long ago an entry was played.
    prioritise: by the `rank` of the score, where equal scores rank in the order of the entries, or `proportional` to
        it.
    replay: share of the episodes that play a seen entry, while there are new ones; `proportionate`: as large as the
        share of entries that were seen.
    fill: while a smaller share of entries than this was seen, all episodes play new ones.
    """

    NAME: ClassVar[str] = "replay"
    WANTS_SCORES: ClassVar[bool] = True

    def __init__(
        self,
        seeds: int | None = 200,
        alpha: float = 1.0,
        temperature: float = 0.1,
        staleness: float = 0.1,
        prioritise: Literal["rank", "proportional"] = "rank",
        replay: float | Literal["proportionate"] = "proportionate",
        fill: float = 0.0,
    ) -> None:
        self.seeds = None if seeds is None else whole_number("seeds", seeds)
        check_value(alpha, float, "alpha", Limit(0.0, 1.0, without_low=True))
        check_value(temperature, float, "temperature", Limit(0.01, math.inf))
        check_value(staleness, float, "staleness", _UNIT)
        check_value(prioritise, Literal["rank", "proportional"], "prioritise")
        check_value(replay, float | Literal["proportionate"], "replay", _UNIT)
        check_value(fill, float, "fill", _UNIT)
        self.alpha, self.temperature, self.staleness = float(alpha), float(temperature), float(staleness)
        self.prioritise, self.replay, self.fill = prioritise, replay, float(fill)

    def reset(self) -> None:
        """Begin with every entry new."""
        levels, seeds = range(len(self.names)), [None] if self.seeds is None else level_seeds(self.run_seed, self.seeds)
        self._entries: list[tuple[int, int | None]] = [(level, seed) for level in levels for seed in seeds]
        self._at = {entry: i for i, entry in enumerate(self._entries)}
        self._scores: Floats = np.zeros(len(self._entries))
        self._last = np.zeros(len(self._entries), np.int64)
        self._seen = np.zeros(len(self._entries), np.bool_)
        self._episodes = 0
        self._probabilities: Floats | None = None
        self._choice: Weighted | None = None

    def record(self, outcomes: Sequence[Episode]) -> None:
        """Take in the scores. An episode of no entry, or whose score is not finite, counts for nothing."""
        for outcome in outcomes:
            at = self._at.get(self._entry(outcome))
            score = math.nan if at is None else _score(outcome)
            if at is None or not math.isfinite(score):
                continue
            old = float(self._scores[at])
            self._scores[at] = self.alpha * score + (1.0 - self.alpha) * old if self._seen[at] else score
            self._episodes += 1
            self._last[at], self._seen[at] = self._episodes, True
            self._probabilities = self._choice = None

    def _entry(self, outcome: Episode) -> tuple[int, int | None]:
        seed = None if self.seeds is None or outcome.task is None else outcome.task.seed
        return outcome.level, seed

    def probabilities(self) -> Floats:
        """Of the entries; shape (entries,)."""
        if self._probabilities is None:
            seen, n = np.flatnonzero(self._seen), len(self._entries)
            replay = self._replay(len(seen) / n)
            self._probabilities = np.zeros(n)
            if replay < 1.0:
                self._probabilities[~self._seen] = (1.0 - replay) / (n - len(seen))
            if replay > 0.0:
                self._probabilities[seen] = replay * self._among(seen)
        return self._probabilities

    def _replay(self, share_seen: float) -> float:
        """Probability that an episode plays a seen entry."""
        if share_seen == 0.0 or share_seen == 1.0:
            return share_seen
        if share_seen < self.fill:
            return 0.0
        return share_seen if self.replay == "proportionate" else float(self.replay)

    def _among(self, seen: npt.NDArray[np.intp]) -> Floats:
        """P of the seen entries; shape as `seen`."""
        by_score = _normalised(self._by_rank(seen) if self.prioritise == "rank" else self._by_size(seen))
        by_age = _normalised((self._episodes - self._last[seen]).astype(np.float64))
        return (1.0 - self.staleness) * by_score + self.staleness * by_age

    def _by_rank(self, seen: npt.NDArray[np.intp]) -> Floats:
        weights = np.empty(len(seen))
        order = np.argsort(-self._scores[seen], kind="stable")
        weights[order] = [(1.0 / rank) ** (1.0 / self.temperature) for rank in range(1, len(seen) + 1)]
        return weights

    def _by_size(self, seen: npt.NDArray[np.intp]) -> Floats:
        scores = np.maximum(self._scores[seen], 0.0)
        largest = float(scores.max()) or 1.0
        return np.array([(score / largest) ** (1.0 / self.temperature) for score in scores.tolist()])

    def choice(self) -> Weighted:
        """Drawn by `probabilities`; entries of probability 0 are left out."""
        if self._choice is None:
            probabilities = self.probabilities()
            at = np.flatnonzero(probabilities > 0.0)
            sums = np.cumsum(probabilities[at])
            entries = [self._entries[i] for i in at.tolist()]
            self._choice = Weighted(
                (*(sums[:-1] / sums[-1]).tolist(), 1.0),
                tuple(level for level, _ in entries),
                None if self.seeds is None else tuple(seed for _, seed in entries if seed is not None),
            )
        return self._choice

    def metrics(self) -> dict[str, float]:
        """Probability of every level, the share of entries seen, and their mean score once there is one."""
        by_level = self.probabilities().reshape(len(self.names), -1).tolist()
        metrics = {f"probability/{name}": math.fsum(p) for name, p in zip(self.names, by_level, strict=True)}
        seen = self._scores[self._seen].tolist()
        metrics["seen"] = len(seen) / len(self._entries)
        return {**metrics, "score_mean": math.fsum(seen) / len(seen)} if seen else metrics

    def state_dict(self) -> dict[str, Any]:
        """Number of episodes, and for each level its seen entries: seeds (none where levels are entries), scores,
        and number of the episode they were last seen in.
        """
        levels: dict[str, dict[str, list[Any]]] = {n: {"seeds": [], "scores": [], "last": []} for n in self.names}
        for at in np.flatnonzero(self._seen).tolist():
            level, seed = self._entries[at]
            saved = levels[self.names[level]]
            saved["seeds"] += [] if seed is None else [seed]
            saved["scores"].append(float(self._scores[at]))
            saved["last"].append(int(self._last[at]))
        return {"episodes": self._episodes, "levels": levels}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The reverse of `state_dict`. Seeds that are gone are left out."""
        self.reset()
        self._episodes = state["episodes"]
        for level, name in enumerate(self.names):
            saved = state["levels"].get(name, {"seeds": [], "scores": [], "last": []})
            seeds = saved["seeds"] or [None] * len(saved["scores"])
            for seed, score, last in zip(seeds, saved["scores"], saved["last"], strict=True):
                at = self._at.get((level, seed))
                if at is not None:
                    self._scores[at], self._last[at], self._seen[at] = score, last, True


def level_seeds(run_seed: int, count: int) -> list[int]:
    """The first `count` seeds of a level, all different, at least 0 and below 2**31."""
    rng, seeds = generator(run_seed, "level_seeds"), dict[int, None]()
    while len(seeds) < count:
        seeds[int(rng.integers(2**31))] = None
    return list(seeds)


def _score(outcome: Episode) -> float:
    if outcome.score is None:
        raise ConfigError(
            "curriculum.sample: replay needs a score of every episode, and the algorithm gave none; use PPO or A2C, or "
            "another strategy."
        )
    return outcome.score


def _normalised(weights: Floats) -> Floats:
    """Summing to 1; equal ones where all are 0. The sum is taken in order, so that it is the same on any processor."""
    total = float(np.cumsum(weights)[-1])
    return weights / total if total > 0.0 else np.full(len(weights), 1.0 / len(weights))
