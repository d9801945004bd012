"""stable-baselines3 and sb3-contrib, and how SBX, which is built on it, is trained."""

from __future__ import annotations

from typing import Any

import stable_baselines3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_atari_env, make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecFrameStack, VecNormalize

from contenders.clock import Clock
from contenders.works import CONTRIB, Work


class Ticking(BaseCallback):
    """Tells the clock whenever collecting begins, which is when an update has ended."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def _on_rollout_start(self) -> None:
        self._clock.tick(self.num_timesteps)

    def _on_step(self) -> bool:
        return True


def environments(work: Work, backend: str) -> VecEnv:
    kind = SubprocVecEnv if backend == "async" else DummyVecEnv
    if work.atari:
        import ale_py
        import gymnasium

        gymnasium.register_envs(ale_py)
    make = make_atari_env if work.atari else make_vec_env
    made: VecEnv = make(work.env, work.n_envs, seed=1, vec_env_cls=kind, env_kwargs=work.env_kwargs)
    if work.atari:
        made = VecFrameStack(made, 4)
    return VecNormalize(made) if work.normalize else made


def train(package: Any, work: Work, units: int, backend: str, **given: Any) -> tuple[int, float]:
    """Train `package`'s algorithm of that name."""
    clock = Clock(work, units)
    envs = environments(work, backend)
    model = getattr(package, work.algorithm)(
        work.policy, envs, policy_kwargs=work.policy_kwargs, seed=1, **work.settings, **given
    )
    model.learn(clock.target, callback=Ticking(clock))
    clock.tick(model.num_timesteps)
    envs.close()
    return clock.measured


def measure(work: Work, units: int, backend: str, accelerator: str) -> tuple[int, float]:
    package: Any = stable_baselines3
    if work.algorithm in CONTRIB:
        import sb3_contrib as package
    return train(package, work, units, backend, device=accelerator)
