"""Agents saved by stable-baselines3 1.0 and later, read as tensors and text.

Source: `stable_baselines3/common/save_util.py`. `data` is JSON in which what JSON cannot hold stands as
`{":type:": ..., ":serialized:": <base64 of a pickle>, <readable attributes>}`. The pickle is never loaded; that of a
space is kept as text, for `interop.spaces` to read as records.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from lit_rl.errors import DataError
from lit_rl.interop.places import DATA_LIMIT
from lit_rl.interop.serialized import action_noise, plain_value, schedule_function
from lit_rl.interop.settings import with_episodes
from lit_rl.interop.text import CLASS_KEYS, SpaceText, Value, class_name, is_known_class, schedule, space
from lit_rl.untrusted.archive import Archive
from lit_rl.untrusted.tensors import NumpyValues, load_tensors

_SCHEDULES = frozenset({"learning_rate", "clip_range", "clip_range_vf", "lr_schedule", "exploration_schedule",
                        "delta_std_schedule"})  # fmt: skip
_SPACES = frozenset({"observation_space", "action_space"})
_BUFFERS = ("ep_info_buffer", "ep_success_buffer")


@dataclass(frozen=True)
class Agent:
    """What a zip of stable-baselines3 holds, without what only its pickles could say."""

    path: Path
    algorithm: str
    """`ppo`, `a2c`, `dqn`, `sac`, `td3`, `ddpg`, `trpo`, `qrdqn`, `tqc`, `crossq`, `ppo_lstm`, `maskableppo`,
    `ars`, `unknown`.
    """
    sb3_version: str | None
    policy_class: str | None
    """Dotted name of the policy's class as written in the file; text, never imported."""
    policy: dict[str, Tensor]
    """Every tensor of `policy.pth` by its name, on the CPU."""
    policy_optimizer: dict[str, Any] | None
    tensors: dict[str, Any]
    """The other tensor files by member name (`actor.optimizer.pth`, `pytorch_variables.pth`, ...)."""
    settings: dict[str, Any]
    """Plain values by name; a schedule as run.yaml has it, where its text says so."""
    policy_kwargs: dict[str, Any]
    """Plain values; classes as dotted names of PyTorch or stable-baselines3."""
    observation_space: SpaceText | None
    action_space: SpaceText | None
    not_read: dict[str, str] = field(default_factory=dict)
    """Settings and members that cannot be read as text, with the reason."""
    pickled_spaces: dict[str, str] = field(default_factory=dict)
    """The pickles of `observation_space` and `action_space`, in base64 as they stand; see `interop.spaces`."""
    pickled_episodes: dict[str, str] = field(default_factory=dict)
    """Those of `ep_info_buffer` and `ep_success_buffer`; see `interop.standing`."""

    @property
    def used_vecnormalize(self) -> bool | None:
        """Whether its environments were wrapped in VecNormalize; None where the file does not tell
        (off-policy).
        """
        if self.algorithm not in ("ppo", "a2c", "trpo", "maskableppo", "ppo_lstm"):
            return None
        return "_last_original_obs" in self.not_read


def read_agent(path: str | Path) -> Agent:
    """Read the agent in a zip; nothing in it is run.

    Raises `ConfigError` when there is no such local file, `DataError` (one line, naming file and member)
    when it is damaged, hostile, or no agent of stable-baselines3.
    """
    not_read: dict[str, str] = {}
    with Archive.open(path) as archive:
        _check_kind(archive.names, str(path))
        raw = _read_json(archive.read("data", DATA_LIMIT), f"{path}: member 'data'")
        tensors: dict[str, Any] = {}
        for name in archive.names:
            if name.endswith(".pth"):
                loaded = load_tensors(archive.read(name), f"{path}: member {name!r}")
                if isinstance(loaded, NumpyValues):
                    not_read[name] = f"holds NumPy numbers ({', '.join(loaded.names)}), which are not loaded"
                else:
                    tensors[name] = loaded
        version = None
        if "_stable_baselines3_version" in archive.names:
            text = archive.read("_stable_baselines3_version", 256).decode("utf-8", errors="replace").strip()
            version = text if text.isprintable() else None
    policy = tensors.pop("policy.pth", None)
    if not isinstance(policy, dict) or not policy or not all(isinstance(t, Tensor) for t in policy.values()):
        raise DataError(f"{path}: member 'policy.pth' is not a dictionary of tensors.")
    optimizer = tensors.pop("policy.optimizer.pth", None)
    if optimizer is not None and not (isinstance(optimizer, dict) and {"state", "param_groups"} <= set(optimizer)):
        raise DataError(f"{path}: member 'policy.optimizer.pth' is not the state of an optimizer.")
    return Agent(
        path=Path(path),
        algorithm=guess_algorithm(policy, raw),
        sb3_version=version,
        policy_class=_class(raw.get("policy_class")),
        policy={str(name): tensor for name, tensor in policy.items()},
        policy_optimizer=optimizer,
        tensors=tensors,
        settings=_settings(raw, not_read),
        policy_kwargs=_policy_kwargs(raw.get("policy_kwargs"), not_read),
        observation_space=space(raw.get("observation_space")),
        action_space=space(raw.get("action_space")),
        not_read=not_read,
        pickled_spaces=_pickled(raw, sorted(_SPACES)),
        pickled_episodes=_pickled(raw, _BUFFERS),
    )


def _pickled(raw: Mapping[str, Any], keys: Iterable[str]) -> dict[str, str]:
    entries = {key: raw[key] for key in keys if isinstance(raw.get(key), dict)}
    return {key: text for key, entry in entries.items() if isinstance(text := entry.get(":serialized:"), str)}


def _check_kind(names: tuple[str, ...], where: str) -> None:
    """A clear error for the other zips that people have lying about."""
    if "parameter_list" in names and "parameters" in names:
        raise DataError(f"{where}: is an agent of Stable-Baselines 2 (TensorFlow); only stable-baselines3 is read.")
    if any(name.endswith("/data.pkl") for name in names):
        raise DataError(f"{where}: is a PyTorch or Lightning checkpoint, not an agent of stable-baselines3.")
    missing = [name for name in ("data", "policy.pth") if name not in names]
    if missing:
        raise DataError(f"{where}: is not an agent of stable-baselines3: member {missing[0]!r} is missing.")


def _read_json(data: bytes, where: str) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError("a key is there twice")
        return dict(pairs)

    try:
        value = json.loads(data, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: is not the JSON text of an agent ({str(error)[:120]}).") from None
    if not isinstance(value, dict):
        raise DataError(f"{where}: is not the JSON text of an agent.")
    return value


def _class(entry: Any) -> str | None:
    """Dotted name of a class: its module from the readable attribute, its name from the text of its constructor."""
    if not isinstance(entry, dict):
        return None
    name = re.match(r"<function (\w+)\.__init__ at ", str(entry.get("__init__", "")))
    module = entry.get("__module__")
    return f"{module}.{name.group(1)}" if name and isinstance(module, str) and module.isprintable() else None


def _settings(raw: Mapping[str, Any], not_read: dict[str, str]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for key, value in raw.items():
        if key in _SPACES or key in ("policy_kwargs", "policy_class"):
            continue
        if not isinstance(value, dict) or ":type:" not in value:
            if _is_plain(value):
                settings[key] = value
            else:
                not_read[key] = "holds a serialised value"
            continue
        if key == "replay_buffer_class" and (name := _class(value)) is not None:
            settings[key] = name
            continue
        if key == "action_noise" and (noise := action_noise(str(value.get(":serialized:")))) is not None:
            settings |= noise
            continue
        kind = class_name(str(value[":type:"])) or "an unknown type"
        known = _known(key, kind, value)
        if known is not None:
            settings["delta_std" if key == "delta_std_schedule" else key] = known  # ARS keeps it as that alone
        else:
            not_read[key] = f"a serialised {kind[:80]}, which is never decoded"
    return with_episodes(settings)


def _known(key: str, kind: str, entry: Mapping[str, Any]) -> Any:
    """What a serialised value is, where its text or its pickle says so in a form that is known; else `None`."""
    pickled = str(entry.get(":serialized:"))
    if key not in _SCHEDULES:
        return plain_value(kind, pickled)
    known = None if kind == "function" else _schedule(kind, entry)
    wrapped = kind in ("function", "stable_baselines3.common.utils.FloatSchedule")
    return schedule_function(pickled) if known is None and wrapped else known


def _schedule(kind: str, entry: Mapping[str, Any]) -> Value | None:
    """A schedule object's readable attributes as its text would say it."""
    if isinstance(entry.get("value_schedule"), str):
        return schedule(entry["value_schedule"])
    if kind.endswith("LinearSchedule") and type(entry.get("initial_value")) in (int, float):
        return schedule(f"lin_{entry['initial_value']}")
    if kind.endswith("LinearSchedule") and {"start", "end", "end_fraction"} <= set(entry):
        fields = {name: entry[name] for name in ("start", "end", "end_fraction")}
        return schedule(f"LinearSchedule({', '.join(f'{k}={v}' for k, v in fields.items())})")
    if kind.endswith("ConstantSchedule"):
        return schedule(f"ConstantSchedule(val={entry.get('val')})")
    return None


def _policy_kwargs(entry: Any, not_read: dict[str, str]) -> dict[str, Any]:
    """The readable half of `policy_kwargs`; classes only where they are PyTorch's or stable-baselines3's
    own.
    """
    kwargs: dict[str, Any] = {}
    for key, value in (entry if isinstance(entry, dict) else {}).items():
        if key in (":type:", ":serialized:", "device"):
            continue
        name = class_name(value) if key in CLASS_KEYS and isinstance(value, str) else None
        if name and is_known_class(name):
            kwargs[key] = name
        elif name:
            not_read[f"policy_kwargs.{key}"] = f"the class {name[:80]} is not one of PyTorch or stable-baselines3"
        elif _is_plain(value) and not (isinstance(value, str) and re.search("[<{(]", value)):
            kwargs[key] = value
        else:
            not_read[f"policy_kwargs.{key}"] = f"its text {str(value)[:60]!r} is not a plain value"
    return kwargs


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return not any(key in value for key in (":type:", ":serialized:")) and all(map(_is_plain, value.values()))
    return all(map(_is_plain, value)) if isinstance(value, list) else True


def guess_algorithm(policy: Mapping[str, Tensor], settings: Mapping[str, Any]) -> str:
    """The algorithm a file comes from, by the names of its tensors and then by the settings only it has."""
    roots = {name.split(".")[0] for name in policy}
    if "lstm_actor" in roots:
        return "ppo_lstm"
    if "quantile_net" in roots:
        return "qrdqn"
    if "q_net" in roots:
        return "dqn"
    if {"actor", "critic"} <= roots:
        if "target_policy_noise" in settings:
            return "ddpg" if not any(name.startswith("critic.qf1.") for name in policy) else "td3"
        if "critic_target" not in roots:
            return "crossq"
        return "tqc" if "top_quantiles_to_drop_per_net" in settings else "sac"
    if {"action_net", "value_net"} <= roots:
        if "cg_max_steps" in settings:
            return "trpo"
        if "clip_range" not in settings:
            return "a2c"
        kind = settings.get("policy_class")
        maskable = isinstance(kind, dict) and "maskable" in str(kind.get("__module__"))
        return "maskableppo" if maskable else "ppo"
    return "ars" if "n_delta" in settings else "unknown"


class TensorLine(NamedTuple):
    """One line of `show`: a tensor's name, shape and element type."""

    name: str
    shape: tuple[int, ...]
    dtype: str


def describe(tensors: Mapping[str, Tensor]) -> list[TensorLine]:
    """Every tensor of a policy in the order of the file, e.g. `("action_net.bias", (2,), "float32")`."""
    return [TensorLine(n, tuple(t.shape), str(t.dtype).removeprefix("torch.")) for n, t in tensors.items()]
