"""Observations looked at before our own wrappers change them, which would hide what is wrong with them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from lit_rl.envs.failures import InvalidOutput
from lit_rl.envs.output import wrong_observation


class Checked(gym.ObservationWrapper[Any, Any, Any]):
    """Passes on the observations that are of the environment's space, and refuses others."""

    def observation(self, observation: Any) -> Any:
        wrong = wrong_observation(observation, self.observation_space)
        if wrong is not None:
            raise InvalidOutput(wrong)
        return observation
