"""Every environment on a level of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from lit_rl.curriculum.choice import PerEnv
from lit_rl.curriculum.rules.build import build_rule, parts_of_rule
from lit_rl.curriculum.rules.rule import Rule
from lit_rl.curriculum.strategies.strategy import Strategy
from lit_rl.data.episode import Episode
from lit_rl.errors import ConfigError
from lit_rl.ops.limits import at_least, check_value
from lit_rl.ops.streams import generator

UP: Mapping[str, Any] = {"metric": "success_rate", "threshold": 1.0, "window": 1}
DOWN: Mapping[str, Any] = {"metric": "success_rate", "below": 0.5, "window": 3}


@dataclass
class _Rung:
    """Where one environment stands.

    level: index. above: how often it went above the top. timesteps: of its episodes that counted on this level.
    up, down: its rules.
    """

    level: int
    above: int
    timesteps: int
    up: Rule
    down: Rule | None

    def enter(self, level: int) -> None:
        self.level, self.timesteps = level, 0
        self.up.reset()
        if self.down is not None:
            self.down.reset()


class LadderStrategy(Strategy):
    """Every environment goes up on success and down on clear failure, alone.

    After each of its own episodes that it played on its level, an environment asks its rules; up wins. Above the top it
    goes to a random level, any of them, so that none is forgotten; below the first it stays. A level that is entered
    begins with empty rules. After Rudin et al. 2021, *Learning to Walk in Minutes Using Massively Parallel Deep
    Reinforcement Learning* (2109.11978).

    up: rule for the next level; a success, if none is given.
    down: rule for the level before; three failures in a row, if none is given; null: never.
    start: first and last level between which an environment begins, each as likely, counted from 0.
    """

    NAME: ClassVar[str] = "ladder"
    KEY: ClassVar[str] = "schedule"

    def __init__(
        self,
        up: Mapping[str, Any] = UP,
        down: Mapping[str, Any] | None = DOWN,
        start: Sequence[int] = (0, 0),
    ) -> None:
        self.up, self.down = up, down
        _check_rule(up, "up")
        if down is not None:
            _check_rule(down, "down")
        check_value(start, list[int], "start", at_least(0))
        if len(start) != 2 or start[0] > start[1]:
            raise ConfigError(f"start: must be the first and the last level to begin on, is {list(start)}.")
        self.start = int(start[0]), int(start[1])

    def begin(self, names: Sequence[str], n_envs: int, run_seed: int) -> None:
        """Also checks that the levels to start on are there."""
        if self.start[1] >= len(names):
            raise ConfigError(f"start: is {list(self.start)}, and levels go from 0 to {len(names) - 1}.")
        super().begin(names, n_envs, run_seed)

    def reset(self) -> None:
        """Every environment on the level that it starts on."""
        self._rungs = [self._new(env) for env in range(self.n_envs)]
        self._choice: PerEnv | None = None

    def start_at(self, level: int) -> None:
        """Every environment on one level (a warmstart)."""
        self.reset()
        for rung in self._rungs:
            rung.enter(level)

    def _new(self, env: int) -> _Rung:
        low, high = self.start
        level = low if low == high else int(generator(self.run_seed, "ladder_start", env).integers(low, high + 1))
        rung = _Rung(
            level, 0, 0, build_rule(self.up, "up"), None if self.down is None else build_rule(self.down, "down")
        )
        rung.enter(level)
        return rung

    def record(self, outcomes: Sequence[Episode]) -> None:
        """Ask the rules of every environment after each episode that it played on its level."""
        for outcome in outcomes:
            rung = self._rungs[outcome.env_index]
            if outcome.level == rung.level:
                self._move(outcome.env_index, rung, outcome)

    def _move(self, env: int, rung: _Rung, outcome: Episode) -> None:
        rules = [rule for rule in (rung.up, rung.down) if rule is not None]
        rung.timesteps += outcome.length
        for rule in rules:
            rule.record(outcome)
        due = [rule.due(rung.timesteps) for rule in rules]
        if due[0]:
            self._enter(rung, self._next(env, rung))
        elif any(due) and rung.level > 0:
            self._enter(rung, rung.level - 1)

    def _next(self, env: int, rung: _Rung) -> int:
        if rung.level + 1 < len(self.names):
            return rung.level + 1
        level = int(generator(self.run_seed, "ladder", env, rung.above).integers(len(self.names)))
        rung.above += 1
        return level

    def _enter(self, rung: _Rung, level: int) -> None:
        if level != rung.level:
            self._choice = None
        rung.enter(level)

    def choice(self) -> PerEnv:
        """The level of every environment."""
        if self._choice is None:
            self._choice = PerEnv(tuple(rung.level for rung in self._rungs))
        return self._choice

    def metrics(self) -> dict[str, float]:
        """The share of environments on every level, the share that ever went above the top, and the mean level."""
        on = [0] * len(self.names)
        for rung in self._rungs:
            on[rung.level] += 1
        n = len(self._rungs)
        metrics = {f"envs/{name}": count / n for name, count in zip(self.names, on, strict=True)}
        metrics["ever_top"] = sum(rung.above > 0 for rung in self._rungs) / n
        metrics["level_mean"] = sum(rung.level for rung in self._rungs) / n
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Of every environment: its level, how often it went above the top, and its rules."""
        return {
            "rules": self._specs(),
            "envs": [
                {
                    "level": self.names[rung.level],
                    "above": rung.above,
                    "timesteps": rung.timesteps,
                    "up": rung.up.state_dict(),
                    "down": {} if rung.down is None else rung.down.state_dict(),
                }
                for rung in self._rungs
            ],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The reverse of `state_dict`.

        An environment that is new, or whose level is gone, starts anew; a rule that was changed begins to count anew.
        """
        self.reset()
        specs = self._specs()
        for rung, saved in zip(self._rungs, state["envs"], strict=False):
            if saved["level"] not in self.names:
                continue
            rung.enter(self.names.index(saved["level"]))
            rung.above, rung.timesteps = saved["above"], saved["timesteps"]
            if specs["up"] == state["rules"]["up"]:
                rung.up.load_state_dict(saved["up"])
            if rung.down is not None and specs["down"] == state["rules"]["down"]:
                rung.down.load_state_dict(saved["down"])

    def _specs(self) -> dict[str, str]:
        """The rules as they were configured, in comparable strings."""
        rules = {"up": self.up, "down": self.down}
        return {name: json.dumps(spec, sort_keys=True, default=str) for name, spec in rules.items()}


def _check_rule(spec: Mapping[str, Any], name: str) -> None:
    """Refuse mistakes in a rule, and one that looks at more than an environment's own episodes."""
    build_rule(spec, name)
    for part in parts_of_rule(spec):
        metric = str(part.get("metric", ""))
        if metric == "timesteps" or metric.startswith("eval/"):
            raise ConfigError(
                f"{name}.metric: {metric} is of the whole run, and every environment moves by its own episodes; use "
                "success_rate, ep_rew_mean or ep_len_mean."
            )
