"""Wrappers as the RL Zoo names them, and what they are here."""

from __future__ import annotations

import re
from typing import Any

from lit_rl.errors import did_you_mean

_OWN = "write it as a gymnasium.Wrapper of your own and name that"
_ZOO: dict[str, str] = {
    "FrameSkip": "use gymnasium.wrappers.RepeatAction with num_repeats",
    "HistoryWrapper": f"env.frame_stack stacks observations, without the actions; with them, {_OWN}",
    "HistoryWrapperObsDict": _OWN,
    "TimeFeatureWrapper": "use sb3_contrib.common.wrappers.TimeFeatureWrapper (pip install 'lit-rl[contrib]'), or "
    "gymnasium.wrappers.TimeAwareObservation",
    "MaskVelocityWrapper": _OWN,
    "DelayedRewardWrapper": _OWN,
    "ActionNoiseWrapper": _OWN,
    "ActionSmoothingWrapper": _OWN,
    "TruncatedOnSuccessWrapper": _OWN,
    "DoneOnSuccessWrapper": _OWN,
    "YAMLCompatResizeObservation": "use gymnasium.wrappers.ResizeObservation",
    "PlotActionWrapper": _OWN,
}
"""What to use for each of the Zoo's own wrappers."""
_RENAMED = {
    "GrayScaleObservation": "GrayscaleObservation",
    "FrameStack": "FrameStackObservation",
    "AutoResetWrapper": "Autoreset",
    "PixelObservationWrapper": "AddRenderObservation",
}
"""Gymnasium's wrappers that have other names today."""
_ZOOS = re.compile(r"(rl_zoo3|rl_zoo|utils)\.wrappers\.(\w+)")
_GYMNASIUMS = re.compile(r"gym(nasium)?\.wrappers\.(\w+\.)?(\w+)")
ELSEWHERE = {
    "callback": "callbacks here are Lightning's, in trainer.callbacks",
    "monitor_kwargs": "monitor.csv is written by itself",
    "vec_env_wrapper": "environments are wrapped one by one here, in env.wrappers; VecNormalize is env.normalize, "
    "VecFrameStack env.frame_stack",
}
"""Keys of the Zoo that are no settings of an algorithm, and where they lie here."""


def translate(path: str) -> tuple[str | None, str]:
    """A wrapper's import path here, or `None`; and if it is left out, why and what to use."""
    if (zoo := _ZOOS.fullmatch(path)) is not None:
        return None, f"{path} is the RL Zoo's own; {_ZOO.get(zoo[2], _OWN)}"
    found = _GYMNASIUMS.fullmatch(path)
    if found is None:
        return path, ""
    import gymnasium.wrappers

    name = _RENAMED.get(found[3], found[3])
    if name in gymnasium.wrappers.__all__:
        return f"gymnasium.wrappers.{name}", ""
    return None, f"gymnasium.wrappers has no {name}.{did_you_mean(name, gymnasium.wrappers.__all__)}"


def stacked(value: Any) -> int | None:
    """How many frames a `vec_env_wrapper` stacks that is VecFrameStack alone."""
    match value:
        case {"stable_baselines3.common.vec_env.VecFrameStack": {"n_stack": int(frames)}}:
            return frames
    return None
