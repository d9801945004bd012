"""Look at files and options before the parser does: every key known, every value of its type and in its range.

The parser below takes a misspelled block for somebody else's, and text for a number; and where it finds a mistake, it
says so in its own terms.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Collection, Iterator
from typing import Any

from lit_rl.cli.blocks import BLOCKS, CLASS_KEYS, LIMITS, SCALARS, free_dictionaries
from lit_rl.cli.given import Given
from lit_rl.cli.models import every_model, model_settings
from lit_rl.cli.trainer_block import check_trainer_block, trainer_arguments
from lit_rl.cli.variables import variable_of
from lit_rl.errors import ConfigError, did_you_mean
from lit_rl.networks.names import check_policy_name
from lit_rl.ops.limits import check_value, reads_as_number, shown, union_members
from lit_rl.ops.schedules import Schedule, as_schedule
from lit_rl.training.config import LINKED

_EXAMPLES = {"env": "{id: CartPole-v1}", "model": "{class_path: PPO}", "eval": "{every: 10000}"}


def check_given(each: Given, model: str | None, more: Collection[str] = ()) -> None:
    """Check the keys and values of a file, or the name and the value of an option.

    Args:
        each: what is given.
        model: the algorithm that the files or the options name.
        more: top-level keys of this command alone, which hold whole numbers.

    Raises:
        ConfigError: names the first mistake, and the nearest valid spelling or the fix.
    """
    _Check(each.where, model, each.variable).tree(each.tree, dict.fromkeys(more, int))


class _Check:
    """One walk through a file or an option; `where` is the file's path, or `--`, also of a `variable`."""

    def __init__(self, where: str, model: str | None, variable: str | None = None) -> None:
        self._where, self._model, self._variable = where, model, variable
        self._is_option = where == "--"

    def tree(self, tree: dict[str, Any], more: dict[str, Any]) -> None:
        scalars = SCALARS | more
        for key, value in tree.items():
            if key in scalars:
                is_ours = key in more and self._is_option and self._variable is None
                self._value(value, scalars[key], f"--{key}" if is_ours else key, LIMITS.get(key))
            elif key in BLOCKS:
                self._record(value, BLOCKS[key], key)
            elif key == "trainer":
                self._known(self._block(value, key), trainer_arguments(), key)
                check_trainer_block(value, self._is_option)
            elif key == "model":
                self._check_model(value)
            else:
                raise ConfigError(self._unknown(str(key), [*scalars, *BLOCKS, "model", "trainer", "config"]))

    def _check_model(self, model: Any) -> None:
        if isinstance(model, str):
            model_settings(model)
            return
        self._known(self._block(model, "model"), CLASS_KEYS, "model")
        if "class_path" in model:
            self._value(model["class_path"], str, "model.class_path")
        name = model.get("class_path") or self._model
        settings, arguments = None if name is None else model_settings(str(name)), model.get("init_args")
        if arguments is None or settings is None:
            return
        path = "model" if self._is_option else "model.init_args"
        for key, top in LINKED.items():
            if key in self._block(arguments, path):
                where = "" if self._is_option else f"{self._where}: "
                raise ConfigError(f"{where}{path}.{key} is a top-level key here: write `{top}:` outside model.")
        parameters, limits = settings.parameters, settings.limits
        self._known(arguments, parameters, path)
        for key, value in arguments.items():
            hint = parameters[key]
            if Schedule not in union_members(hint):
                self._value(value, hint, f"model.{key}", limits.get(key))
                if key == "policy" and settings.policies:
                    check_policy_name(str(value), settings.policies)
                continue
            if isinstance(value, dict):
                self._known(value, [field.name for field in dataclasses.fields(Schedule)], f"{path}.{key}")
            for name, part in (value if isinstance(value, dict) else {"": value}).items():
                if isinstance(part, str) and reads_as_number(part):
                    check_value(part, float, f"model.{key}.{name}".removesuffix("."))
            if value is not None and not (self._is_option and isinstance(value, dict)):
                as_schedule(value, f"model.{key}", limits.get(key))

    def _record(self, values: Any, record: Any, path: str) -> None:
        hints, limits = typing.get_type_hints(record), getattr(record, "LIMITS", {})
        self._known(self._block(values, path), [field.name for field in dataclasses.fields(record)], path)
        for key, value in values.items():
            hint, name = hints[key], f"{path}.{key}"
            inner = typing.get_args(hint)
            if dataclasses.is_dataclass(hint):
                self._record(value, hint, name)
            elif hint is dict and value is None:
                continue  # takes away what files before it have given
            elif typing.get_origin(hint) is list and dataclasses.is_dataclass(inner[0]):
                self._value(value, hint, name)
                for i, item in enumerate(value):
                    self._record(item, inner[0], f"{name}[{i}]")
            else:
                self._value(value, hint, name, limits.get(key))

    def _value(self, value: Any, hint: Any, key: str, limit: Any = None) -> None:
        if key == "seed_everything" and (value is None or isinstance(value, bool)):
            raise ConfigError(
                f"{key}: expected a whole number, got {shown(value)}. Give one, such as 0: a run is repeated with it."
            )
        if self._is_option and str in union_members(hint) and not isinstance(value, dict | list):
            return  # an option's value is text where text is wanted
        check_value(value, hint, key, limit)

    def _block(self, values: Any, key: str) -> dict[str, Any]:
        if not isinstance(values, dict):
            example = f", such as `{key}: {_EXAMPLES[key]}`" if key in _EXAMPLES else ""
            raise ConfigError(f"{key}: expected keys and values{example}, got {shown(values)}.")
        return values

    def _known(self, values: dict[str, Any], known: Collection[str], path: str) -> None:
        for key in values:
            if key not in known:
                near = did_you_mean(str(key), known)
                stem, _, last = (self._variable or "").rpartition("__")
                if last.lower() == key:
                    near = did_you_mean(last, [name.upper() for name in known]).replace("'", f"'{stem}__", 1)
                    raise ConfigError(f"there is no such setting.{near}")
                if self._variable is not None:
                    raise ConfigError(f"unknown key '{path}.{key}'.{near}")
                if self._is_option:
                    raise ConfigError(f"--{path}.{key}: there is no such option.{near}")
                raise ConfigError(f"{self._where}: unknown key '{path}.{key}'.{near}")

    def _unknown(self, key: str, tops: list[str]) -> str:
        """A top-level key that there is not; it may lie in a block."""
        places = list(dict.fromkeys(_places(key, self._model)))
        if self._variable is not None:
            command = self._variable.split("_")[1]
            names = " or ".join(variable_of(command, place) for place in places)
            near = did_you_mean(self._variable, [variable_of(command, top) for top in tops])
            return f"there is no such setting.{f' Did you mean {names}?' if names else near}"
        if self._is_option:
            hint = f" Did you mean --{' or --'.join(places)}?" if places else did_you_mean(key, tops)
            return f"--{key}: there is no such option.{hint}"
        hint = f" It belongs below a block: {' or '.join(places)}." if places else did_you_mean(key, tops)
        return f"{self._where}: unknown key '{key}'.{hint}"


def _places(key: str, model: str | None) -> Iterator[str]:
    """Where a key exists below a block: right below one, or else deeper."""
    models = every_model() if model is None else [model_settings(model)]
    parameters = {name: hint for each in reversed(models) for name, hint in each.parameters.items()}
    records = {block: typing.get_type_hints(record) for block, record in BLOCKS.items()}
    if key in LINKED:
        yield LINKED[key]
        return
    blocks = {"model": parameters, **records, "trainer": trainer_arguments()}
    right_below = [f"{block}.{key}" for block, names in blocks.items() if key in names and not key.isupper()]
    yield from right_below
    if right_below:
        return
    for block, names in records.items():
        for name, hint in names.items():
            if dataclasses.is_dataclass(hint) and key in [field.name for field in dataclasses.fields(hint)]:
                yield f"{block}.{name}.{key}"
    for each in models:
        free = [path[-1] for path in free_dictionaries(each) if path[0] == "model"]
        if "policy_kwargs" in free and key in each.policy_arguments():
            yield f"model.policy_kwargs.{key}"
