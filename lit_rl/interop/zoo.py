"""A block of the RL Zoo's YAML (`hyperparams/ppo.yml`, or the `config.yml` beside a trained agent) as plain
records.

Source: `rl_zoo3/exp_manager.py`. The Zoo evaluates some texts as Python; here they are parsed, and what
does not parse is listed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lit_rl.errors import ConfigError, DataError, did_you_mean
from lit_rl.interop.replay_settings import HER, KEYS, has_replay, replay_settings
from lit_rl.interop.settings import Kind, by_zoo_name, refuse_unavailable, with_episodes, zoo_kinds
from lit_rl.interop.text import CLASS_KEYS, class_name, is_known_class, keywords, schedule
from lit_rl.interop.wrappers import ELSEWHERE, stacked
from lit_rl.untrusted.archive import check_path

_SIZE_LIMIT = 1 << 22
_PYTHON = "tag:yaml.org,2002:python/"
_MERGE_LIMIT = 10_000

NORMALIZE_KEYS = frozenset({"norm_obs", "norm_reward", "clip_obs", "clip_reward", "gamma", "epsilon"})


@dataclass(frozen=True)
class NotCarried:
    """A setting that does not go into the run.yaml, and why."""

    key: str
    reason: str


@dataclass(frozen=True)
class Wrapper:
    """An environment wrapper by dotted name, with its keyword arguments."""

    class_path: str
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass
class ZooSettings:
    """One environment's block, sorted by where it goes."""

    env_id: str | None
    algo: str
    n_timesteps: int | None = None
    n_envs: int | None = None
    policy: str | None = None
    normalize: dict[str, Any] | None = None
    """VecNormalize's arguments, `norm_obs` and `norm_reward` always among them; None when it is off."""
    frame_stack: int | None = None
    wrappers: list[Wrapper] = field(default_factory=list)
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    carried: dict[str, Any] = field(default_factory=dict)
    """Settings that the algorithm has here: numbers, flags, and `lin_<start>` for schedules."""
    policy_kwargs: dict[str, Any] = field(default_factory=dict)
    not_carried: list[NotCarried] = field(default_factory=list)


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads the Zoo's OrderedDict tag as a dictionary and refuses every other Python tag by
    name.
    """

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is there twice", node.start_mark)
        super().flatten_mapping(node)
        if len(node.value) > _MERGE_LIMIT:
            raise yaml.constructor.ConstructorError(None, None, "merges too many keys", node.start_mark)
        unique = {key.value if isinstance(key, yaml.ScalarNode) else id(key): (key, value) for key, value in node.value}
        node.value = list(unique.values())


def _ordered_dict(loader: _Loader, node: yaml.Node) -> dict[Hashable, Any]:
    value = loader.construct_sequence(node, deep=True) if isinstance(node, yaml.SequenceNode) else None
    match value:
        case [list(pairs)] if all(isinstance(p, list) and len(p) == 2 and isinstance(p[0], str) for p in pairs):
            return dict(pairs)
    raise yaml.constructor.ConstructorError(None, None, "an OrderedDict that is not pairs", node.start_mark)


def _refuse_python(loader: _Loader, suffix: str, node: yaml.Node) -> None:
    raise yaml.constructor.ConstructorError(
        None, None, f"the tag !!python/{suffix} is refused, nothing was run", node.start_mark
    )


_Loader.add_constructor(_PYTHON + "object/apply:collections.OrderedDict", _ordered_dict)
_Loader.add_multi_constructor(_PYTHON, _refuse_python)


def load_yaml(path: str | Path) -> dict[str, Any]:
    """The dictionary in a YAML file as plain values; `DataError` (one line) for tags, double keys and other
    content.
    """
    file = check_path(path, "the YAML file")
    if file.stat().st_size > _SIZE_LIMIT:
        raise DataError(f"{path}: is larger than {_SIZE_LIMIT} bytes, too large for settings.")
    try:
        value = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise DataError(f"{path}: {error.problem}{line}.") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError, TypeError) as error:
        raise DataError(f"{path}: is not YAML we can read ({' '.join(str(error).split())[:160]}).") from None
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise DataError(f"{path}: is not a dictionary of settings.")
    return value


def read_zoo(path: str | Path, env_id: str | None = None, algo: str = "ppo") -> ZooSettings:
    """The settings of `env_id` in a Zoo file, or those of a `config.yml`, which has one environment only.

    `algo` is the algorithm's name in lower case. Raises `ConfigError` when the file has no such environment
    or there is no such algorithm here, `DataError` when it is no such file; what is there but cannot be
    carried over stands in `not_carried`.
    """
    known = by_zoo_name()
    if algo not in known:
        refuse_unavailable(algo, "algo")
        raise ConfigError(f"algo: there is no {algo!r} here; there are {', '.join(known)}.{did_you_mean(algo, known)}")
    content = load_yaml(path)
    if not any(isinstance(value, dict) for key, value in content.items() if key not in _DICT_KEYS):
        return _settings(content, env_id, algo, str(path))
    if env_id is None:
        raise ConfigError(f"{path}: has {len(content)} environments; name one with --env.")
    block = content.get(env_id, content.get("atari") if "NoFrameskip" in env_id else None)
    if not isinstance(block, dict):
        raise ConfigError(f"{path}: has no block for {env_id!r}.{did_you_mean(env_id, content)}")
    return _settings(block, env_id, algo, str(path))


_DICT_KEYS = frozenset({"env_kwargs", "policy_kwargs", "normalize", "env_wrapper", "normalize_kwargs"})


def _settings(block: dict[str, Any], env_id: str | None, algo: str, where: str) -> ZooSettings:
    zoo = ZooSettings(env_id, algo)
    known = zoo_kinds(by_zoo_name()[algo])
    own = KEYS if has_replay(by_zoo_name()[algo]) else frozenset[str]()
    for key, value in with_episodes(block).items():
        if key in own:
            continue
        try:
            _sort(zoo, known, str(key), value, f"{where}: {key}")
        except ConfigError as error:
            zoo.not_carried.append(NotCarried(str(key), str(error).removeprefix(f"{where}: {key}: ")))
    _replay(zoo, {key: block[key] for key in sorted(own & block.keys()) if block[key] is not None}, where)
    if zoo.normalize is not None and "gamma" in zoo.carried:
        zoo.normalize.setdefault("gamma", zoo.carried["gamma"])
    return zoo


def _replay(zoo: ZooSettings, given: dict[str, Any], where: str) -> None:
    """What a block says of the replay; its arguments may be text."""
    kwargs, optimize = given.get("replay_buffer_kwargs", {}), given.get("optimize_memory_usage")
    try:
        key = f"{where}: replay_buffer_kwargs"
        kwargs = keywords(kwargs, key) if isinstance(kwargs, str) else _dictionary(kwargs, key)
    except ConfigError as error:
        zoo.not_carried.append(NotCarried("replay_buffer_kwargs", str(error).removeprefix(f"{key}: ")))
        kwargs = {}
    buffer = given.get("replay_buffer_class")
    found = replay_settings(None if buffer is None else str(buffer), kwargs, optimize)
    if "her" in found.carried and "n_steps" in zoo.carried:
        found.left_out["n_steps"] = f"{HER} takes single steps (its value was {zoo.carried.pop('n_steps')})"
    zoo.carried |= found.carried
    zoo.not_carried += [NotCarried(key, reason) for key, reason in found.left_out.items()]


def _sort(zoo: ZooSettings, known: dict[str, Kind], key: str, value: Any, where: str) -> None:
    if value is None:
        return
    if key in known:
        zoo.carried[key] = setting(known[key], value, where)
    elif key in ("n_timesteps", "n_envs", "frame_stack"):
        setattr(zoo, key, _integer(value, where))
    elif key == "policy":
        zoo.policy = _text(value, where)
    elif key == "normalize":
        zoo.normalize = _normalize(value, where)
    elif key == "env_wrapper":
        zoo.wrappers = _wrappers(value, where)
    elif key == "vec_env_wrapper" and stacked(value) is not None:
        zoo.frame_stack = stacked(value)
    elif key in ELSEWHERE:
        zoo.not_carried.append(NotCarried(key, f"{ELSEWHERE[key]} (its value was {str(value)[:60]!r})"))
    elif key == "env_kwargs":
        zoo.env_kwargs = keywords(value, where) if isinstance(value, str) else _dictionary(value, where)
    elif key == "policy_kwargs":
        given = keywords(value, where) if isinstance(value, str) else _dictionary(value, where)
        zoo.policy_kwargs, refused = policy_kwargs(given)
        zoo.not_carried += refused
    else:
        zoo.not_carried.append(
            NotCarried(key, f"{zoo.algo.upper()} here has no such setting (its value was {str(value)[:60]!r})")
        )


def setting(kind: Kind, value: Any, where: str) -> Any:
    """A setting's value of its kind, from a number or a number's text; `ConfigError` for anything else."""
    if kind == "flag":
        if not isinstance(value, bool):
            raise ConfigError(f"{where}: {str(value)[:60]!r} is not true or false.")
        return value
    if kind == "whole":
        return _integer(value, where)
    if kind == "word":
        return _text(value, where)
    if kind == "frequency":
        return _frequency(value, where)
    if kind == "coefficient" and isinstance(value, str) and re.fullmatch(r"auto(_[0-9.e+-]+)?", value):
        return value
    number = schedule(value) if isinstance(value, str) else value
    if isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number):
        return number
    if kind == "schedule" and isinstance(number, str | dict):
        return number
    raise ConfigError(f"{where}: {str(value)[:60]!r} is not a number{' or lin_<start>' * (kind == 'schedule')}.")


def policy_kwargs(given: dict[str, Any], where: str = "policy_kwargs") -> tuple[dict[str, Any], list[NotCarried]]:
    """Keyword arguments of a policy as run.yaml has them, and those that it cannot have.

    A class that is left out takes its arguments with it (`features_extractor_kwargs`).
    """
    kwargs: dict[str, Any] = {}
    refused: list[NotCarried] = []
    for key, value in given.items():
        if key in CLASS_KEYS:
            name = class_name(value) if isinstance(value, str) else None
            if name is None or not is_known_class(name):
                reason = f"{str(value)[:80]!r} is no class of PyTorch or stable-baselines3; give it in run.yaml"
                refused.append(NotCarried(f"{where}.{key}", reason))
                continue
            value = name
        if key == "net_arch" and isinstance(value, list) and any(isinstance(layer, dict) for layer in value):
            if len(value) > 1:
                reason = "layers shared by policy and value are gone since stable-baselines3 1.8"
                refused.append(NotCarried(f"{where}.net_arch", reason))
                continue
            value = value[0]
        if isinstance(value, dict) and key.endswith("_kwargs"):
            value, inner = policy_kwargs(value, f"{where}.{key}")
            refused += inner
        kwargs[key] = value
    for item in list(refused):
        arguments = f"{item.key.removeprefix(f'{where}.').removesuffix('_class')}_kwargs"
        if arguments in kwargs:
            value = kwargs.pop(arguments)
            reason = f"{str(value)[:80]} are arguments of the class that is left out; give them beside it"
            refused.append(NotCarried(f"{where}.{arguments}", reason))
    return kwargs, refused


def _normalize(value: Any, where: str) -> dict[str, Any] | None:
    given = keywords(value, where) if isinstance(value, str) else value
    if isinstance(given, bool):
        return {"norm_obs": True, "norm_reward": True} if given else None
    given = _dictionary(given, where)
    unknown = [key for key in given if key not in NORMALIZE_KEYS]
    if unknown:
        raise ConfigError(f"{where}: {unknown[0]!r} is not a setting of VecNormalize that we have.")
    return {"norm_obs": True, "norm_reward": True, **given}


def _wrappers(value: Any, where: str) -> list[Wrapper]:
    wrappers = []
    for entry in value if isinstance(value, list) else [value]:
        match entry:
            case str(name):
                kwargs: Any = {}
            case dict() if len(entry) == 1:
                ((name, kwargs),) = entry.items()
            case _:
                raise ConfigError(f"{where}: {str(entry)[:60]!r} is neither a class nor a class with arguments.")
        if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", str(name)):
            raise ConfigError(f"{where}: {str(name)[:60]!r} is not the dotted name of a wrapper.")
        wrappers.append(Wrapper(str(name), _dictionary(kwargs or {}, where)))
    return wrappers


def _integer(value: Any, where: str) -> int:
    number = schedule(value) if isinstance(value, str) else value
    if not isinstance(number, int | float) or isinstance(number, bool) or not float(number).is_integer():
        raise ConfigError(f"{where}: {str(value)[:60]!r} is not a whole number.")
    return int(number)


def _frequency(value: Any, where: str) -> int | list[Any]:
    if isinstance(value, list | tuple) and len(value) == 2 and value[1] in ("step", "episode"):
        count = _integer(value[0], where)
        return count if value[1] == "step" else [count, "episode"]
    count = _integer(value, where)
    if count < 1:
        raise ConfigError(f"{where}: {count} means something else in old versions; give it in run.yaml.")
    return count


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{where}: {str(value)[:60]!r} is not a name.")
    return value


def _dictionary(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ConfigError(f"{where}: {str(value)[:60]!r} is not a dictionary.")
    return value
