"""Walks that allow some actions only, named by `class_path: tests.helpers.masked.<class>`."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from tests.helpers import walks

PATH = "tests.helpers.masked."


class _Allows:
    """Another third of all choices is forbidden at each step; one that is taken all the same raises."""

    def action_masks(self):
        space = self.action_space
        if isinstance(space, spaces.Discrete):
            size = int(space.n)
        else:
            size = int(space.nvec.sum()) if isinstance(space, spaces.MultiDiscrete) else 2 * space.n
        return (np.arange(size) + self.steps) % 3 != 0

    def step(self, action):
        space, mask = self.action_space, self.action_masks()
        sizes = [space.n] if isinstance(space, spaces.Discrete) else getattr(space, "nvec", [2] * np.size(action))
        chosen = np.cumsum([0, *sizes[:-1]]) + np.atleast_1d(action)
        assert mask[chosen].all(), f"{action} is forbidden by {mask}"
        return super().step(action)


class Masked(_Allows, walks.Noisy):
    pass


class MaskedMultiDiscrete(_Allows, walks.NoisyMultiDiscrete):
    pass


class MaskedMultiBinary(_Allows, walks.NoisyMultiBinary):
    pass


class MaskedDict(_Allows, walks.NoisyDict):
    pass


class MaskedImages(_Allows, walks.SmallImages):
    pass


class NothingAllowed(walks.Noisy):
    """From the fifth step of an episode on."""

    def action_masks(self):
        return np.full(3, self.steps < 5)


class WrongMask(walks.Noisy):
    def action_masks(self):
        return [True] * 4


class Legal(walks.Noisy):
    """Says it under a name of its own, for a wrapper."""

    def legal_moves(self):
        return Masked.action_masks(self)


class MaskIsNoMethod(walks.Noisy):
    action_masks = (True, True, True)


class RaggedMask(walks.Noisy):
    def action_masks(self):
        return [[True], [True, False]]


class MaskIsAKey(Masked):
    """Its observations have a part that is called as the masks are."""

    def __init__(self):
        super().__init__()
        self.observation_space = spaces.Dict({"action_masks": self.observation_space})

    def _obs(self):
        return {"action_masks": super()._obs()}
