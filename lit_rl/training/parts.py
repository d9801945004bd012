"""What of a module is state without being a record: its curriculum, its environments; and who is told of iterations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from lit_rl.curriculum import Curriculum, CurriculumConfig
from lit_rl.state.plain import with_arrays

if TYPE_CHECKING:
    from lit_rl.training.module import RLModule


class Journal(Protocol):
    """A file of the run, beside the loggers."""

    def write(self, module: RLModule) -> None:
        """Take in the iteration that has ended."""

    def position(self) -> dict[str, Any]:
        """Where it stands, kept in the checkpoint."""

    def cut_to(self, position: dict[str, Any]) -> None:
        """Go back there."""


def make_curriculum(config: CurriculumConfig | dict[str, Any] | None, n_envs: int) -> Curriculum | None:
    """The curriculum of a run of `n_envs` environments; `None` for one without levels."""
    config = config if isinstance(config, CurriculumConfig) else CurriculumConfig.from_plain(config or {})
    if not config.levels:
        return None
    curriculum = Curriculum(config.levels)
    curriculum.check_envs(n_envs)
    return curriculum


class CurriculumPart:
    """The curriculum's state; empty for a run without one. A run that is given one begins on its first level."""

    def __init__(self, curriculum: Curriculum | None) -> None:
        self._curriculum = curriculum

    def state_dict(self) -> dict[str, Any]:
        return {} if self._curriculum is None else self._curriculum.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self._curriculum is not None and state:
            self._curriculum.load_state_dict(state)


class EnvironmentsPart:
    """Environments in flight, and what is kept beside them for each."""

    def __init__(self, module: RLModule) -> None:
        self._module = module

    def state_dict(self) -> dict[str, Any]:
        module = self._module
        assert module.envs is not None
        return {
            "grade": module.envs.grade,
            "offset": module.envs.offset,
            "slots": module.envs.capture(),
            "returns": module.normalizer.returns,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        module = self._module
        module._obs, module.restarted_envs = module.build_envs().restore(with_arrays(state["slots"]))
        module.normalizer.returns = with_arrays(state["returns"])
        module.normalizer.returns[module.restarted_envs] = 0.0
