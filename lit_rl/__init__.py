"""Reinforcement learning on PyTorch Lightning: a run can be stopped anywhere and picked up exactly."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from lit_rl.version import __version__

_EXPORTS = {
    "Part": "lit_rl.state.parts",
    "RLModule": "lit_rl.training.module",
    "CurriculumConfig": "lit_rl.curriculum",
    "EnvConfig": "lit_rl.envs.config",
    "EvalConfig": "lit_rl.training.config",
    "NormalizeConfig": "lit_rl.envs.config",
    "WrapperConfig": "lit_rl.envs.config",
    "CheckpointConfig": "lit_rl.callbacks.config",
    "RanksConfig": "lit_rl.ranks.config",
    "ResumeConfig": "lit_rl.run.config",
    "WarmstartConfig": "lit_rl.run.config",
    "Schedule": "lit_rl.ops.schedules",
    "begin": "lit_rl.run.begin",
    "load": "lit_rl.inference.load",
}

if TYPE_CHECKING:
    from lit_rl.algorithms.a2c import A2C
    from lit_rl.algorithms.ars import ARS
    from lit_rl.algorithms.crossq import CrossQ
    from lit_rl.algorithms.ddpg import DDPG
    from lit_rl.algorithms.dqn import DQN
    from lit_rl.algorithms.maskableppo import MaskablePPO
    from lit_rl.algorithms.ppo import PPO
    from lit_rl.algorithms.qrdqn import QRDQN
    from lit_rl.algorithms.recurrentppo import RecurrentPPO
    from lit_rl.algorithms.sac import SAC
    from lit_rl.algorithms.td3 import TD3
    from lit_rl.algorithms.tqc import TQC
    from lit_rl.algorithms.trpo import TRPO
    from lit_rl.callbacks.config import CheckpointConfig
    from lit_rl.curriculum import CurriculumConfig
    from lit_rl.envs.config import EnvConfig, NormalizeConfig, WrapperConfig
    from lit_rl.inference.load import load
    from lit_rl.ops.schedules import Schedule
    from lit_rl.ranks.config import RanksConfig
    from lit_rl.run.begin import begin
    from lit_rl.run.config import ResumeConfig, WarmstartConfig
    from lit_rl.state.parts import Part
    from lit_rl.training.config import EvalConfig
    from lit_rl.training.module import RLModule

__all__ = [
    "A2C",
    "ARS",
    "DDPG",
    "DQN",
    "PPO",
    "QRDQN",
    "SAC",
    "TD3",
    "TQC",
    "TRPO",
    "CheckpointConfig",
    "CrossQ",
    "CurriculumConfig",
    "EnvConfig",
    "EvalConfig",
    "MaskablePPO",
    "NormalizeConfig",
    "Part",
    "RLModule",
    "RanksConfig",
    "RecurrentPPO",
    "ResumeConfig",
    "Schedule",
    "WarmstartConfig",
    "WrapperConfig",
    "__version__",
    "begin",
    "load",
]

_CONTRIB = ["ARS", "CrossQ", "MaskablePPO", "QRDQN", "RecurrentPPO", "TQC", "TRPO"]
"""Algorithms whose networks are sb3-contrib's."""
if importlib.util.find_spec("sb3_contrib") is None:
    __all__ = [name for name in __all__ if name not in _CONTRIB]


def __getattr__(name: str) -> Any:
    """Import on first use: environment workers import this package and need none of torch."""
    if name in _CONTRIB:
        from lit_rl.algorithms import refuse_unavailable

        refuse_unavailable(name, f"lit_rl.{name}")
    module = _EXPORTS.get(name, f"lit_rl.algorithms.{name.lower()}")  # an algorithm is found by its file
    if name in _EXPORTS or (name.isidentifier() and not name.startswith("_") and importlib.util.find_spec(module)):
        return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module 'lit_rl' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
