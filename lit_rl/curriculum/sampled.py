"""Levels that are not walked one after the other: a strategy chooses among all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lit_rl.curriculum.choice import Choice
from lit_rl.curriculum.dimension import Dimension
from lit_rl.curriculum.strategies.build import build_strategy
from lit_rl.curriculum.strategies.strategy import Strategy
from lit_rl.data.episode import Episode
from lit_rl.errors import ConfigError


class Sampled(Dimension):
    """Levels and a strategy.

    Args:
        names: of the levels.
        spec: of the strategy, as it stands in the YAML.
        spec_key: what error messages call it.
        n_envs: environments of all ranks.
        run_seed: the run's seed.
        key: what error messages call the list of levels.
        name: of the dimension; empty where there is only one.
    """

    def __init__(
        self, names: Sequence[str], spec: Any, spec_key: str, n_envs: int, run_seed: int, key: str, name: str = ""
    ) -> None:
        super().__init__(names, key, name)
        self.spec, self._spec_key = spec, spec_key
        self.strategy: Strategy = build_strategy(spec, spec_key)
        try:
            self.strategy.begin(self.names, n_envs, run_seed)
        except ConfigError as error:
            raise ConfigError(f"{spec_key}.{error}") from error
        self.wants_scores = self.strategy.WANTS_SCORES

    @property
    def kind(self) -> str:
        """What kind of strategy it is, in a word."""
        return self.strategy.NAME or type(self.strategy).__name__

    def choice(self) -> Choice:
        return self.strategy.choice()

    def record(self, outcomes: Sequence[Episode], timesteps: int) -> None:
        if outcomes:
            self.strategy.record(outcomes)

    def start_at(self, level: int) -> None:
        if not 0 <= level < len(self.names):
            raise ConfigError(f"warmstart.level: is {level}, and levels go from 0 to {len(self.names) - 1}.")
        if level:
            self.strategy.start_at(level)

    def carry(self, state: Mapping[str, Any]) -> None:
        """The whole of what it has learned about its levels goes on."""
        if state.get("strategy") != self.kind:
            was = state.get("strategy", "list")
            raise ConfigError(
                f"warmstart.level: carry needs a run whose {self._spec_key} is {self.kind}, and it was {was}; give a "
                "level's index."
            )
        self.strategy.load_state_dict(state["state"])

    def metrics(self) -> dict[str, float]:
        return self.strategy.metrics()

    def describe(self) -> str:
        return f"0 to {len(self.names) - 1}, chosen by {self.kind}"

    def state_dict(self) -> dict[str, Any]:
        return {"strategy": self.kind, "state": self.strategy.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The reverse of `state_dict`; another strategy than the one it was begins anew."""
        if state.get("strategy") == self.kind:
            self.strategy.load_state_dict(state["state"])
