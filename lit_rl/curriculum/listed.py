"""A list of levels with one current level for the whole run: what happened on it, and when it changes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from lit_rl.curriculum.checks import check_rules
from lit_rl.curriculum.choice import Choice, Current, kept_back
from lit_rl.curriculum.dimension import Dimension, LevelChange
from lit_rl.curriculum.levels import Level
from lit_rl.curriculum.rules.build import build_rule, parts_of_rule
from lit_rl.curriculum.rules.rule import Rule
from lit_rl.data.episode import Episode
from lit_rl.errors import ConfigError, did_you_mean


class Listed(Dimension):
    """Levels one after the other; equal on every rank that is given the same outcomes.

    One iteration is: `choice` at the start of each episode, then `record` with what finished, and
    `advance`, the only place where the level changes. `record_evaluation` after each evaluation. An episode
    counts for the level it was played on, if that is current; a level begins with empty counts.

    Args:
        levels: in their order, at least one; each but the last has a rule `promote`.
        key: what error messages call the list.
        name: of the dimension; empty where there is only one.
    """

    def __init__(self, levels: Sequence[Level], key: str = "curriculum.levels", name: str = "") -> None:
        super().__init__([level.name for level in levels], key, name)
        self.levels = levels
        check_rules(levels, key)
        self._promote = [self._rule(i, "promote") for i in range(len(self.levels))]
        self._demote = [self._rule(i, "demote") for i in range(len(self.levels))]
        self.history: list[LevelChange] = []
        self._choice: Choice = Current()
        self._enter(0)

    @property
    def current(self) -> int:  # type: ignore[override]
        return self.level

    def _rule(self, index: int, name: str) -> Rule | None:
        spec = getattr(self.levels[index], name)
        return None if spec is None else build_rule(spec, f"{self.key}[{index}].{name}")

    def _enter(self, level: int) -> None:
        self.level = level
        self.timesteps_at_level = 0
        self.episodes_at_level = 0
        for rule in self._rules().values():
            rule.reset()

    def _rules(self) -> dict[str, Rule]:
        """The current level's rules by name, promotion first: it wins when both are due."""
        rules = {"promote": self._promote[self.level], "demote": self._demote[self.level]}
        return {name: rule for name, rule in rules.items() if rule is not None}

    @property
    def needs_evaluation(self) -> bool:  # type: ignore[override]
        """Whether some built-in rule waits for evaluations, so that a run without them would never go on."""
        specs = [spec for level in self.levels for spec in (level.promote, level.demote) if spec]
        leaves = [leaf for spec in specs for leaf in parts_of_rule(spec)]
        return any(str(leaf.get("metric", "")).startswith("eval/") for leaf in leaves)

    def start_at(self, level: int) -> None:
        """Begin at another level than 0, with empty counts and history (a warmstart)."""
        if not 0 <= level < len(self.levels):
            raise ConfigError(f"warmstart.level: is {level}, and levels go from 0 to {len(self.levels) - 1}.")
        self.history = []
        self._enter(level)

    def carry(self, state: Mapping[str, Any]) -> None:
        """Begin at the level of another run's state, found by name, with empty counts and history."""
        if "name" not in state:
            raise ConfigError(
                "warmstart.level: carry needs a run on a list of levels, and that one's were chosen otherwise; give 0."
            )
        self.start_at(self._index(state))

    def _index(self, state: Mapping[str, Any]) -> int:
        names = list(self.names)
        if state["name"] not in names:
            raise ConfigError(
                f"{self.key}: the checkpoint is at level '{state['name']}', which this list lacks; keep a level "
                f"of that name, or begin a new run with mode: warmstart.{did_you_mean(state['name'], names)}"
            )
        return names.index(state["name"])

    def check_envs(self, n_envs: int) -> None:
        """Refuse a mix that would keep no environment back; `n_envs` is the total over all ranks."""
        for i, level in enumerate(self.levels):
            if level.mix.share > 0.0 and kept_back(n_envs, level.mix.share) == 0:
                enough = math.ceil(1.0 / level.mix.share - 1e-9)
                raise ConfigError(
                    f"{self.key}[{i}].mix.share: {level.mix.share} of {n_envs} environments (env.n_envs) is less than "
                    f"one; use at least {math.ceil(1000 / n_envs) / 1000}, or {enough} environments."
                )

    def choice(self) -> Choice:
        mix = self.levels[self.level].mix
        now = Current(self.level, mix.share, mix.spread)
        self._choice = self._choice if self._choice == now else now
        return self._choice

    def record(self, outcomes: Sequence[Episode], timesteps: int) -> None:
        """Take in one iteration: its outcomes in the fixed order, and its timesteps over all environments."""
        self.timesteps_at_level += int(timesteps)
        for outcome in outcomes:
            if outcome.level == self.level:
                self.episodes_at_level += 1
                for rule in self._rules().values():
                    rule.record(outcome)

    def record_evaluation(self, metrics: Mapping[str, float]) -> None:
        """Take in one evaluation, such as `{"eval/mean_reward": 200.0, "eval/success_rate": 0.9}`."""
        for rule in self._rules().values():
            rule.record_evaluation(metrics)

    def advance(self, timesteps: int) -> LevelChange | None:
        """The check at the end of an iteration: change the level if a rule is due, by one at most.

        `timesteps`: of the whole run so far.
        """
        # Every rule is asked, since asking is what counts a check.
        due = {name: rule.due(self.timesteps_at_level) for name, rule in self._rules().items()}
        name = next((name for name, is_due in due.items() if is_due), None)
        if name is None:
            return None
        new = self.level + (1 if name == "promote" else -1)
        change = LevelChange(
            timesteps=int(timesteps),
            old=self.level,
            new=new,
            old_name=self.levels[self.level].name,
            new_name=self.levels[new].name,
            reason=self._reason(name),
            dimension=self.name,
        )
        self.history.append(change)
        self._enter(new)
        return change

    def _reason(self, name: str) -> str:
        numbers = [f"{key} {value:.4g}" for key, value in self._rules()[name].progress().items()]
        counts = f"{self.episodes_at_level:,} episodes and {self.timesteps_at_level:,} timesteps at the level"
        return ", ".join([*numbers, counts])

    def metrics(self) -> dict[str, float]:
        """Numbers to log: level, counts at the level, progress of its rules (demotion as `demote_...`)."""
        metrics = {
            "level": float(self.level),
            "timesteps": float(self.timesteps_at_level),
            "episodes": float(self.episodes_at_level),
        }
        for name, rule in self._rules().items():
            prefix = "" if name == "promote" else "demote_"
            metrics |= {f"{prefix}{key}": value for key, value in rule.progress().items()}
        return metrics

    def describe(self) -> str:
        """The current level in a few words, such as `2 of 0 to 5, 'far'`."""
        name = f"'{self.levels[self.level].name}'"
        return (
            f"{self.level} of 0 to {len(self.levels) - 1}, {name}" if len(self.levels) > 1 else f"{name}, the only one"
        )

    def state_dict(self) -> dict[str, Any]:
        """Level, counts, history and the rules of the current level; other rules are empty until entered."""
        return {
            "level": self.level,
            "name": self.levels[self.level].name,
            "timesteps_at_level": self.timesteps_at_level,
            "episodes_at_level": self.episodes_at_level,
            "history": [asdict(change) for change in self.history],
            "rules": {
                name: {"spec": self._spec(name), "state": rule.state_dict()} for name, rule in self._rules().items()
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The reverse of `state_dict`.

        With a changed list of levels, the level is found by its name, and a rule that was changed begins to
        count anew. What another kind of curriculum has left begins on level 0. Raises ConfigError when the level is
        gone.
        """
        if "name" not in state:
            return
        self._enter(self._index(state))
        self.timesteps_at_level = state["timesteps_at_level"]
        self.episodes_at_level = state["episodes_at_level"]
        self.history = [LevelChange(**change) for change in state["history"]]
        for name, rule in self._rules().items():
            saved = state["rules"].get(name)
            if saved is not None and saved["spec"] == self._spec(name):
                rule.load_state_dict(saved["state"])

    def _spec(self, name: str) -> str:
        """The current level's rule as it was configured, in one comparable string."""
        return json.dumps(getattr(self.levels[self.level], name), sort_keys=True, default=str)
