"""Environments, wrappers and callbacks whose constructors fail, each in its own way."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from lightning.pytorch import Callback

from tests.helpers.levels import Limited


class NoServer(Limited):
    def __init__(self, port: int = 3) -> None:
        raise ConnectionError(f"nobody at port {port}")


class Asserts(Limited):
    def __init__(self, limit: int = 3) -> None:
        assert limit > 9
        super().__init__(limit)


class Unclosable(Limited):
    def close(self) -> None:
        raise RuntimeError("the window is gone")


class Taker(Limited):
    """Takes any keyword."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__()


def seven() -> int:
    return 7


class Broken(gym.Wrapper[Any, Any, Any, Any]):
    def __init__(self, env: Any, scale: float = 1.0) -> None:
        super().__init__(env)
        raise KeyError("scale")


class Fussy(Callback):
    def __init__(self, level: int, quiet: bool = False) -> None:
        if level < 0:
            raise ValueError("a negative level")
