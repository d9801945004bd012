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
    "MaskVelocityWrapper": "use lit_rl.envs.wrappers.hidden.Hidden with the indices of the velocities",
    "DelayedRewardWrapper": _OWN,
    "ActionNoiseWrapper": _OWN,
    "ActionSmoothingWrapper": _OWN,
    "TruncatedOnSuccessWrapper": _OWN,
    "DoneOnSuccessWrapper": _OWN,
    "YAMLCompatResizeObservation": "use gymnasium.wrappers.ResizeObservation",
    "PlotActionWrapper": _OWN,
}
"""What to use for each of the Zoo's own wrappers."""
_VELOCITIES = {
    "CartPole": [1, 3],
    "MountainCar": [1],
    "MountainCarContinuous": [1],
    "Pendulum": [2],
    "LunarLander": [2, 3, 5],
    "LunarLanderContinuous": [2, 3, 5],
}
"""Where they stand in observations of environments that the RL Zoo has without them, as `CartPoleNoVel-v1`."""
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


def without_velocities(env_id: str) -> tuple[str, dict[str, Any] | None]:
    """An environment's own id, and the wrapper that makes of it what the RL Zoo registers without velocities."""
    found = re.fullmatch(r"(\w+)NoVel(-v\d+)", env_id)
    if found is None or found[1] not in _VELOCITIES:
        return env_id, None
    hidden = {"class_path": "lit_rl.envs.wrappers.hidden.Hidden", "init_args": {"indices": _VELOCITIES[found[1]]}}
    return found[1] + found[2], hidden


def stacked(value: Any) -> int | None:
    """How many frames a `vec_env_wrapper` stacks that is VecFrameStack alone."""
    match value:
        case {"stable_baselines3.common.vec_env.VecFrameStack": {"n_stack": int(frames)}}:
            return frames
    return None
