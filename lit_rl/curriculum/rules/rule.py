"""What a rule is: it watches the episodes of one level and says when to leave it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

from lit_rl.data.episode import Episode


@runtime_checkable
class Rule(Protocol):
    """Says when to leave a level, upwards (`promote`) or downwards (`demote`).

    Subclass it and write `due`, `reset`, `state_dict` and `load_state_dict`; the other three do nothing
    unless you need them. A rule sees only episodes played on its level while that level is current, and
    evaluations made in that time. It is not asked before `reset` was called once.
    """

    METRICS: ClassVar[tuple[str, ...]] = ()
    """Metrics of the short form `{metric: ..., threshold: ...}` that mean this rule, for one in this folder; a rule of
    your own is named by class_path.
    """

    def record(self, outcome: Episode) -> None:
        """Take in one finished episode."""

    def record_evaluation(self, metrics: Mapping[str, float]) -> None:
        """Take in the result of one evaluation, such as `{"eval/mean_reward": 200.0}`."""

    @abstractmethod
    def due(self, timesteps_at_level: int) -> bool:
        """The check made once an iteration: is it time to leave? May count checks."""

    @abstractmethod
    def reset(self) -> None:
        """Forget everything: the level begins."""

    def progress(self) -> dict[str, float]:
        """Numbers to log, by name without a prefix, such as `{"success_rate": 0.4}`."""
        return {}

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything `due` depends on, as plain Python values."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The reverse of `state_dict`."""
