"""`model.policy_kwargs` as a policy takes them: classes in place of their names, every keyword known, at any depth."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn, optim
from torch.optim import Optimizer

from lit_rl.envs.build import import_class
from lit_rl.errors import ConfigError, did_you_mean
from lit_rl.networks.policies import KEY
from lit_rl.ops.limits import Limit, at_least, check_value, hints_of, shown

_KINDS: dict[str, tuple[type, str]] = {
    "activation_fn": (nn.Module, "torch.nn.Module"),
    "features_extractor_class": (BaseFeaturesExtractor, "stable-baselines3's BaseFeaturesExtractor"),
    "optimizer_class": (Optimizer, "torch.optim.Optimizer"),
}
"""What the class behind a key must be below."""
_ELSEWHERE = {
    "use_sde": "write model.use_sde",
    "lr_schedule": "write model.learning_rate",
    "lr": "write model.learning_rate",
    "observation_space": "the environment has it",
    "action_space": "the environment has it",
    "params": "they are the policy's",
}
"""Arguments that a run gives itself."""
_COUNTS = {name: at_least(1) for name in ("n_critics", "n_quantiles", "lstm_hidden_size", "n_lstm_layers")}
"""Arguments that count something of which there has to be one."""
_ON_POLICY, _OFF_POLICY = ("pi", "vf"), ("pi", "qf")


def resolve_policy_kwargs(kwargs: Mapping[str, Any] | None, policy: type[BasePolicy]) -> dict[str, Any]:
    """`policy_kwargs` with classes in place of their names.

    A text is the name of a class where the key is ``activation_fn`` or ends in ``_class``, where the constructor's
    own default is a class, and where it begins with ``torch.nn.`` or ``torch.optim.``. It is a dotted path, or the
    bare name of a class in `torch.nn` (`ReLU`), for ``optimizer_class`` in `torch.optim` (`AdamW`).

    Raises:
        ConfigError: a keyword that nobody takes, a class of another kind, a value of another type; names its key.
    """
    return _resolve(kwargs or {}, KEY, _Constructor(policy))


class _Constructor:
    """The keywords that a class takes."""

    def __init__(self, cls: type, otherwise: str = "") -> None:
        self.name, self._otherwise = cls.__name__, otherwise
        self.parameters: dict[str, inspect.Parameter] = {}
        self.hints: dict[str, Any] = {}
        self.open = False
        own = [each for each in cls.__mro__ if "__init__" in vars(each) and each.__module__ != "builtins"]
        self.parts = _parts_of(own)
        for each in own:
            found = inspect.signature(vars(each)["__init__"]).parameters
            self.parameters = dict(found) | self.parameters
            self.hints = hints_of(vars(each)["__init__"]) | self.hints
            self.open = any(p.kind is p.VAR_KEYWORD for p in found.values())
            if not self.open:  # else what is left over goes to the class below
                break
        first = 2 if issubclass(cls, BaseFeaturesExtractor) else 1  # the observation space, by whatever name
        kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        taken = list(self.parameters)[:first]
        self.known = {
            name: parameter
            for name, parameter in self.parameters.items()
            if parameter.kind not in kinds and name not in taken and name not in _ELSEWHERE
        }

    def check(self, given: Mapping[str, Any], key: str) -> None:
        """Refuse keywords that it does not take, and those that are missing."""
        for name in given:
            if name in _ELSEWHERE and name in self.parameters:
                raise ConfigError(f"{key}.{name}: is not given here; {_ELSEWHERE[name]}.")
            if name not in self.known and not self.open:
                near = did_you_mean(name, self.known)
                known = "" if near else f" {self.name} takes {', '.join(self.known) or 'none'}."
                raise ConfigError(f"{key}: unknown key '{name}'.{near}{known}{self._otherwise}")
        for name, parameter in self.known.items():
            if parameter.default is parameter.empty and name not in given and key != KEY:
                raise ConfigError(f"{key}.{name} is missing; {self.name} needs it.")

    def default(self, name: str) -> Any:
        return self.known[name].default if name in self.known else None


def _parts_of(classes: Iterable[type]) -> tuple[str, ...]:
    """What a policy's `net_arch` may have layers for, by the constructors of it and its bases: nothing where it is one
    list.
    """
    hints = [hints_of(vars(each)["__init__"]) for each in classes]
    net_arch = next((each["net_arch"] for each in hints if "net_arch" in each), None)
    if net_arch is not None and dict not in [typing.get_origin(each) for each in typing.get_args(net_arch)]:
        return ()
    return _OFF_POLICY if any("n_critics" in each for each in hints) else _ON_POLICY


def _resolve(given: Mapping[str, Any], key: str, constructor: _Constructor | None) -> dict[str, Any]:
    if constructor is not None:
        constructor.check(given, key)
    found: dict[str, Any] = {}
    for name, value in given.items():
        default = None if constructor is None else constructor.default(name)
        found[name] = _class(value, name, f"{key}.{name}", default)
    for name, value in found.items():
        if name == "net_arch":
            _check_net_arch(value, f"{key}.{name}", _ON_POLICY if constructor is None else constructor.parts)
        elif constructor is not None and name in constructor.hints and _is_checked(constructor.hints[name]):
            check_value(value, constructor.hints[name], f"{key}.{name}", _COUNTS.get(name, Limit(infinite=True)))
        found[name] = _inside(value, f"{key}.{name}", _constructor_of(name, found, constructor))
    return found


def _inside(value: Any, key: str, constructor: _Constructor | None) -> Any:
    if isinstance(value, Mapping):
        return _resolve(value, key, constructor)
    if isinstance(value, list | tuple):
        return type(value)(
            _inside(_class(item, "", f"{key}[{i}]", None), f"{key}[{i}]", None) for i, item in enumerate(value)
        )
    return value


def _constructor_of(name: str, found: Mapping[str, Any], constructor: _Constructor | None) -> _Constructor | None:
    """What takes the keyword arguments `name`: the class beside it, or its default."""
    if not name.endswith("_kwargs") or constructor is None:
        return None
    name = f"{name.removesuffix('_kwargs')}_class"
    cls = found.get(name, constructor.default(name))
    otherwise = "" if name in found else f" {name} names another class."
    return _Constructor(cls, otherwise) if isinstance(cls, type) else None


def names_class(key: str) -> bool:
    """Whether the value of a key in `policy_kwargs` is a class."""
    return key == "activation_fn" or key.endswith("_class")


def _class(value: Any, name: str, key: str, default: Any) -> Any:
    """A class in place of its name, where a value is one."""
    meant = names_class(name) or isinstance(default, type)
    if isinstance(value, str) and (meant or value.startswith(("torch.nn.", "torch.optim."))):
        short = value.removeprefix("th.").removeprefix("nn.")
        if "." in short or ":" in short:
            value = import_class(value, key)
        else:
            library = optim if name == "optimizer_class" else nn
            value = getattr(library, short, None)
            if value is None:
                known = [each for each in dir(library) if isinstance(getattr(library, each), type)]
                raise ConfigError(
                    f"{key}: there is no '{short}' in {library.__name__}; give the import path of a class."
                    f"{did_you_mean(short, known)}"
                )
        if not isinstance(value, type):
            raise ConfigError(f"{key}: {shown(value)} is not a class.")
    base, called = _KINDS.get(name, (object, ""))
    wrong = not (isinstance(value, type) and issubclass(value, base))
    if meant and wrong and not (value is None and default is None):
        below = f" below {called}" if called else ""
        raise ConfigError(f"{key}: {getattr(value, '__name__', shown(value))} is not a class{below}.")
    return value


def _is_checked(hint: Any) -> bool:
    """Whether a type is made of plain ones alone."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return all(map(_is_checked, typing.get_args(hint)))
    return (typing.get_origin(hint) or hint) in (bool, int, float, str, dict, list, type(None))


def _check_net_arch(value: Any, key: str, parts: tuple[str, ...]) -> None:
    """Widths of layers: a list, or one for each part of the policy."""
    if isinstance(value, list | tuple) and len(value) == 1 and isinstance(value[0], Mapping):
        value = value[0]  # as stable-baselines3 still takes it
    if isinstance(value, Mapping):
        if not parts:
            raise ConfigError(f"{key}: is one list of widths, such as [64, 64].")
        for name in value:
            if name not in parts:
                known = " and ".join(parts)
                raise ConfigError(f"{key}: unknown key '{name}'; it takes {known}.{did_you_mean(str(name), parts)}")
        missing = next((name for name in parts if name not in value), None)
        if "qf" in parts and missing is not None:
            raise ConfigError(f"{key}.{missing} is missing; it takes {' and '.join(parts)}.")
    for name, widths in value.items() if isinstance(value, Mapping) else [("", value)]:
        where = f"{key}.{name}" if name else key
        check_value(widths, list[int] if name else list[int] | None, where)
        for i, width in enumerate(widths or ()):
            check_value(width, int, f"{where}[{i}]", at_least(1))
