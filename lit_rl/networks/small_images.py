"""Images that stable-baselines3's CNN cannot take: it has no other network for them, and neither have its files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import CombinedExtractor, NatureCNN

from lit_rl.envs.spaces import own_key
from lit_rl.errors import ConfigError

SMALLEST = 36
"""Pixels on a side that NatureCNN's three convolutions need."""


def refuse_small_image(space: spaces.Space[Any], policy_kwargs: Mapping[str, Any]) -> None:
    """Say which image was too small for NatureCNN, where that is why a policy could not be made.

    Args:
        space: of observations, images with channels first.
        policy_kwargs: the policy's arguments.

    Raises:
        ConfigError: names the image and what works with it.
    """
    extractor = policy_kwargs.get("features_extractor_class", NatureCNN)
    if not (isinstance(extractor, type) and issubclass(extractor, NatureCNN | CombinedExtractor)):
        return
    parts = space.spaces if isinstance(space, spaces.Dict) else {None: space}
    for key, part in parts.items():
        assert part.shape is not None
        if not is_image_space(part) or min(part.shape[1:]) >= SMALLEST:
            continue
        size = "x".join(map(str, part.shape[1:]))
        if key is None:
            use = (
                "use MlpPolicy, which flattens it, or enlarge it with the wrapper gymnasium.wrappers.ResizeObservation "
                "(init_args: {shape: [84, 84]})"
            )
        else:
            use = "flatten the observation with the wrapper gymnasium.wrappers.FlattenObservation and use MlpPolicy"
        what = "the image" if key is None else f"the image '{own_key(key)}'"
        raise ConfigError(
            f"model.policy: {what} of {size} is too small for stable-baselines3's CNN, which needs "
            f"{SMALLEST}x{SMALLEST}; {use}, or give model.policy_kwargs.features_extractor_class one of your own."
        )
