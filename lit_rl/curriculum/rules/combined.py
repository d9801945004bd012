"""Rules combined: all of them, or any."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from lit_rl.curriculum.rules.rule import Rule
from lit_rl.data.episode import Episode

COMBINE = ("all", "any")
"""The two words."""


class CombinedRule(Rule):
    """Met when all of its rules are met at the same check, or any of them.

    Every rule sees every episode and every evaluation, and is asked at every check, so that each counts as it
    would alone.

    how: `all` or `any`.
    rules: in the order in which they are written; some may be combined themselves.
    """

    def __init__(self, how: str, rules: Sequence[Rule]) -> None:
        self.how = how
        self.rules = list(rules)

    def record(self, outcome: Episode) -> None:
        """Hand the episode to every rule."""
        for rule in self.rules:
            rule.record(outcome)

    def record_evaluation(self, metrics: Mapping[str, float]) -> None:
        """Hand the evaluation to every rule."""
        for rule in self.rules:
            rule.record_evaluation(metrics)

    def due(self, timesteps_at_level: int) -> bool:
        """Ask every rule, also where the answer is known before the last: asking is a check."""
        due = [rule.due(timesteps_at_level) for rule in self.rules]
        return all(due) if self.how == "all" else any(due)

    def reset(self) -> None:
        """Every rule begins anew."""
        for rule in self.rules:
            rule.reset()

    def leaves(self) -> list[Rule]:
        """The rules that are not combined themselves, in the order in which they are written."""
        return [leaf for rule in self.rules for leaf in (rule.leaves() if isinstance(rule, CombinedRule) else [rule])]

    def progress(self) -> dict[str, float]:
        """The numbers of all rules. A name that several of them use has the rule's number, from 0, after it."""
        numbers = [leaf.progress() for leaf in self.leaves()]
        uses = Counter(name for each in numbers for name in each)
        return {
            f"{name}/{i}" if uses[name] > 1 else name: value
            for i, each in enumerate(numbers)
            for name, value in each.items()
        }

    def state_dict(self) -> dict[str, Any]:
        """The states of the rules, in their order."""
        return {"rules": [rule.state_dict() for rule in self.rules]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The reverse of `state_dict`."""
        for rule, saved in zip(self.rules, state["rules"], strict=True):
            rule.load_state_dict(saved)
