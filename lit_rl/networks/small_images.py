"""Images that stable-baselines3's CNN cannot take: it has no other network for them, and neither have its files."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import CombinedExtractor, NatureCNN

from lit_rl.envs.spaces import own_key
from lit_rl.errors import ConfigError

SMALLEST = 36
"""Pixels on a side that NatureCNN's three convolutions need."""


def refuse_small_image(space: spaces.Space[Any], policy: type[Any], policy_kwargs: Mapping[str, Any]) -> None:
    """Refuse an image that NatureCNN cannot take, where it would be given one.

    Args:
        space: of observations, images with channels first.
        policy: the policy's class.
        policy_kwargs: its arguments.

    Raises:
        ConfigError: names the image and what works with it.
    """
    default = inspect.signature(policy).parameters.get("features_extractor_class")
    extractor = policy_kwargs.get("features_extractor_class", None if default is None else default.default)
    if extractor is not NatureCNN and extractor is not CombinedExtractor:
        return
    parts = space.spaces if isinstance(space, spaces.Dict) else {None: space}
    for key, part in parts.items():
        if not is_image_space(part, normalized_image=not policy_kwargs.get("normalize_images", True)):
            continue
        assert part.shape is not None
        if min(part.shape[1:]) >= SMALLEST:
            continue
        size = "x".join(map(str, part.shape[1:]))
        if key is None:
            use = "use MlpPolicy, which flattens it, enlarge it in a gymnasium.ObservationWrapper of your own"
        else:
            use = "flatten the observation with the wrapper gymnasium.wrappers.FlattenObservation and use MlpPolicy"
        what = "the image" if key is None else f"the image '{own_key(key)}'"
        raise ConfigError(
            f"model.policy: {what} of {size} is too small for stable-baselines3's CNN, which needs "
            f"{SMALLEST}x{SMALLEST}; {use}, or give model.policy_kwargs.features_extractor_class one of your own."
        )
