"""What a strategy is: it watches the episodes of all levels and says which are played next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from lit_rl.curriculum.choice import Choice
from lit_rl.data.episode import Episode
from lit_rl.errors import ConfigError


class Strategy(ABC):
    """Chooses among levels. It is equal on every rank that is given the same outcomes.

    One iteration is: every episode that begins takes its level from `choice`, as it was at the iteration's start; at
    its end comes `record`. Whatever is drawn derives from the run's seed and counters: there is no random state.
    """

    NAME: ClassVar[str] = ""
    """The word for it under `curriculum.sample` or `curriculum.schedule`, for one in this folder; a strategy of your
    own is named by class_path.
    """
    KEY: ClassVar[str] = "sample"
    """Under which of the two keys it stands."""
    WANTS_SCORES: ClassVar[bool] = False
    """Whether episodes must have a `score`, which only some algorithms give."""

    key = "curriculum"
    """What error messages call it."""
    names: tuple[str, ...]
    """Of the levels, in their order."""
    n_envs: int
    """Of all ranks."""
    run_seed: int

    def begin(self, names: Sequence[str], n_envs: int, run_seed: int) -> None:
        """Begin with empty counts. Called before anything else, and again where a run starts over."""
        self.names, self.n_envs, self.run_seed = tuple(names), n_envs, run_seed
        self.reset()

    @abstractmethod
    def reset(self) -> None:
        """Forget everything; `names`, `n_envs` and `run_seed` are there."""

    def start_at(self, level: int) -> None:
        """Begin on another level than the first (a warmstart).

        Raises:
            ConfigError: there is no level that one could begin on.
        """
        raise ConfigError(
            f"warmstart.level: is {level}, and levels are chosen by {self.NAME or type(self).__name__}, which begins "
            "on none; remove it, or use carry."
        )

    @abstractmethod
    def record(self, outcomes: Sequence[Episode]) -> None:
        """Take in the episodes that ended in one iteration, in the order (step, environment)."""

    @abstractmethod
    def choice(self) -> Choice:
        """The distribution of the episodes that begin from now on; a new one only where it has changed."""

    @abstractmethod
    def metrics(self) -> dict[str, float]:
        """Numbers to log, by name without a prefix: `probability/near`, `success_rate/near`."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything `choice` depends on, as plain Python values; what belongs to a level goes by its name."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The reverse of `state_dict`. Levels that are gone are left out, new ones begin empty."""
