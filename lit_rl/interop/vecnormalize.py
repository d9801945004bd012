"""The moments in a `vecnormalize.pkl` of stable-baselines3, in and out.

Source: `stable_baselines3/common/vec_env/vec_normalize.py`. The pickle is read as records (see `pickles`),
so that its classes are names to us; only arrays and numbers of plain types are built from it.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lit_rl.errors import DataError
from lit_rl.interop.places import numbered
from lit_rl.untrusted.archive import check_path
from lit_rl.untrusted.arrays import ARRAYS, array_of
from lit_rl.untrusted.pickles import Made, parse

FloatArray = npt.NDArray[np.float64]

_SIZE_LIMIT = 1 << 28
_VEC_NORMALIZE = "stable_baselines3.common.vec_env.vec_normalize.VecNormalize"
_RUNNING = "stable_baselines3.common.running_mean_std.RunningMeanStd"
_SPACES = (
    "box.Box",
    "discrete.Discrete",
    "multi_discrete.MultiDiscrete",
    "multi_binary.MultiBinary",
    "dict.Dict",
)
_RANDOM = (
    *("numpy.random._pickle." + n for n in ("__randomstate_ctor", "__generator_ctor", "__bit_generator_ctor")),
    *("numpy.random." + n for n in ("_pcg64.PCG64", "_mt19937.MT19937", "bit_generator.SeedSequence")),
    "numpy.random.bit_generator.__pyx_unpickle_SeedSequence",
    *("gym.utils.seeding.RandomNumberGenerator" + n for n in ("", "._generator_ctor")),
)
SPACES = frozenset(
    {"collections.OrderedDict", *ARRAYS, *_RANDOM}
    | {f"{package}.spaces.{space}" for package in ("gym", "gymnasium") for space in _SPACES}
)
"""The names in a pickle of spaces, with their arrays and random generators."""
_ALLOWED = SPACES | {_VEC_NORMALIZE, _RUNNING}


@dataclass(frozen=True)
class Moments:
    """Running mean, variance and count of one quantity; `mean` and `var` float64 of the observation's shape
    or ().
    """

    mean: FloatArray
    var: FloatArray
    count: float


@dataclass(frozen=True)
class VecNormalizeStats:
    """What SB3's VecNormalize learned and how it was set. `obs` is by key for Dict observations, None
    without any.

    Normalised observations are `clip((obs - mean) / sqrt(var + epsilon), -clip_obs, clip_obs)`; rewards are
    divided by `sqrt(reward.var + epsilon)` and clipped to `clip_reward`, where `reward` are the moments of
    discounted returns.
    """

    obs: Moments | dict[str, Moments] | None
    reward: Moments
    clip_obs: float
    clip_reward: float
    gamma: float
    epsilon: float
    norm_obs: bool
    norm_reward: bool

    @property
    def timesteps(self) -> int:
        """About when they were taken: they take in what every step shows, and every reset."""
        counts = [each.count for each in self.obs.values()] if isinstance(self.obs, dict) else []
        counts += [self.obs.count] if isinstance(self.obs, Moments) else []
        return int(max([*counts, self.reward.count]))


def read_vecnormalize(path: str | Path) -> VecNormalizeStats:
    """The moments in a VecNormalize pickle; nothing in it is run.

    Raises `ConfigError` when there is no such local file, `DataError` naming the file and what was refused.
    """
    file = check_path(path, "the VecNormalize pickle")
    if file.stat().st_size > _SIZE_LIMIT:
        raise DataError(f"{path}: is larger than {_SIZE_LIMIT} bytes, too large for moments.")
    stream = io.BytesIO(file.read_bytes())
    root = parse(stream, _ALLOWED, str(path)).value
    if stream.read(1):
        raise DataError(f"{path}: has data behind its pickle.")
    if not isinstance(root, Made) or root.name != _VEC_NORMALIZE or not isinstance(root.state, dict):
        raise DataError(f"{path}: is not a VecNormalize of stable-baselines3.")
    try:
        return _stats(root.state)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: is not a whole VecNormalize ({error}).") from None


def _stats(state: Mapping[str, Any]) -> VecNormalizeStats:
    norm_obs = _flag(state, "norm_obs")
    running = state.get("obs_rms") if norm_obs else None
    obs: Moments | dict[str, Moments] | None
    if isinstance(running, dict):
        obs = {str(key): _moments(value, f"obs_rms[{key!r}]") for key, value in running.items()}
    else:
        obs = None if running is None else _moments(running, "obs_rms")
    if norm_obs and not obs:
        raise ValueError("norm_obs is on, but there are no moments of observations")
    reward = _moments(state["ret_rms"], "ret_rms")
    if reward.mean.shape != ():
        raise ValueError("ret_rms is not of single numbers")
    numbers = {name: _number(state[name], name) for name in ("clip_obs", "clip_reward", "gamma", "epsilon")}
    return VecNormalizeStats(
        obs=obs, reward=reward, norm_obs=norm_obs, norm_reward=_flag(state, "norm_reward"), **numbers
    )


def _flag(state: Mapping[str, Any], name: str) -> bool:
    if not isinstance(state[name], bool):
        raise TypeError(f"{name} is not true or false")
    return bool(state[name])


def _moments(value: Any, name: str) -> Moments:
    if not isinstance(value, Made) or value.name != _RUNNING or not isinstance(value.state, dict):
        raise TypeError(f"{name} is not a RunningMeanStd")
    mean, var = (_array(value.state[field], f"{name}.{field}") for field in ("mean", "var"))
    count = _number(value.state["count"], f"{name}.count")
    if mean.shape != var.shape:
        raise ValueError(f"{name} has a mean of shape {mean.shape} and a variance of shape {var.shape}")
    if not (np.isfinite(mean).all() and np.isfinite(var).all() and (var >= 0).all() and count > 0):
        raise ValueError(f"{name} holds values that are no moments (infinite, NaN or negative)")
    return Moments(mean, var, count)


def _number(value: Any, name: str) -> float:
    array = _array(value, name)
    if array.shape != () or math.isnan(float(array)):
        raise ValueError(f"{name} is not one number")
    return float(array)


def _array(value: Any, name: str) -> FloatArray:
    """A Python number, NumPy scalar or array record as a float64 array of our own."""
    return np.array(array_of(value, name), dtype=np.float64, order="C")


def named_after(zip_path: Path) -> Path:
    """Where the moments of an exported agent lie: `agent_vecnormalize.pkl` beside `agent.zip`."""
    return zip_path.with_name(f"{zip_path.stem}_vecnormalize.pkl")


def own_names(zip_path: Path) -> list[Path]:
    """Where moments lie that are named after a zip, and so of its own time: by an export, and by CheckpointCallback."""
    step = numbered(zip_path.stem)
    given = [] if step is None else [zip_path.with_name(f"{step[0]}_vecnormalize_{step[1]}_steps.pkl")]
    return [named_after(zip_path), *given]


def find_vecnormalize(zip_path: str | Path) -> tuple[Path | None, list[Path]]:
    """The pickle that belongs to an agent's zip, or None, and every place looked at in order.

    Looked at are the name that an export gives it (`named_after`), `CheckpointCallback`'s (`rl_model_500_steps.zip`
    with `rl_model_vecnormalize_500_steps.pkl`), the RL Zoo's (`ppo/Env-v1_1/Env-v1.zip` or `best_model.zip` with
    `ppo/Env-v1_1/Env-v1/vecnormalize.pkl`), and `vecnormalize.pkl`, `vec_normalize.pkl` beside the zip.
    """
    path = Path(zip_path)
    folder, stem = path.parent, path.stem
    places = own_names(path)
    places.append(folder / stem / "vecnormalize.pkl")
    if zoo := re.fullmatch(r"(.+)_\d+", folder.absolute().name):
        places.append(folder / zoo.group(1) / "vecnormalize.pkl")
    places += [folder / name for name in ("vecnormalize.pkl", "vec_normalize.pkl")]
    places = list(dict.fromkeys(places))
    return next((place for place in places if place.is_file()), None), places
