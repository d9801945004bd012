"""The `trainer` block: options that mean something here, of the right type. Lightning is read, not imported."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from lit_rl.cli.source import Class, Unreadable, source_of
from lit_rl.errors import ConfigError
from lit_rl.ops.limits import Limit, at_least, check_value, shown, union_members
from lit_rl.training.refused import REFUSED, check_option

CLASSES = ("callbacks", "logger", "profiler", "plugins")
"""Options that take classes, which are imported to be checked (`trainer_classes`)."""

TRAINER_DEFAULTS: dict[str, Any] = {
    "max_epochs": -1,
    "logger": True,
    "log_every_n_steps": 1,
    "enable_checkpointing": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "accelerator": "auto",
    "devices": 1,
}
"""Where ours differ from Lightning's own."""
_LIMITS = {"num_nodes": at_least(1)}
PLAIN = (bool, int, float, str, dict, type(None), typing.Literal)
_TIME = re.compile(r"\d+:\d\d?:\d\d?:\d\d?")
_UNITS = ("weeks", "days", "hours", "minutes", "seconds")
_MOST = 2**16
_DEVICES = re.compile(r"auto|-?\d+(\s*,\s*-?\d+)*,?")


def check_trainer_block(values: dict[str, Any], is_option: bool) -> None:
    """Check what is given for the Trainer, but for the classes in it.

    Args:
        values: its options.
        is_option: whether they stand on the command line, where any value may be text.

    Raises:
        ConfigError: names the option, what is wrong and the fix.
    """
    hints = trainer_arguments()
    for key, value in values.items():
        name = f"trainer.{key}"
        if key in REFUSED:
            plain = [each for each in union_members(hints[key]) if (typing.get_origin(each) or each) in PLAIN]
            if not (is_option and str in plain):
                check_value(value, union_of(plain), name, Limit(infinite=True))
            check_option(key, value)
        elif key in CLASSES:
            continue
        elif key == "devices":
            _check_devices(value)
        elif key == "max_time" and isinstance(value, str) and not _TIME.fullmatch(value):
            raise ConfigError(f"{name}: {shown(value)} is no time; write days:hours:minutes:seconds, 00:12:00:00.")
        elif key == "max_time" and isinstance(value, dict) and not is_option:
            for unit, count in value.items():
                if unit not in _UNITS:
                    raise ConfigError(f"{name}: unknown key '{unit}'; it takes {', '.join(_UNITS)}.")
                check_value(count, float, f"{name}.{unit}", at_least(0))
        else:
            if key == "default_root_dir":
                check_path(value, name)
            members = union_members(hints[key])
            plain = [each for each in members if (typing.get_origin(each) or each) in PLAIN]
            whole = len(plain) == len(members) or not isinstance(value, dict)
            if plain and whole and not (is_option and str in plain):
                check_value(value, union_of(plain), name, _LIMITS.get(key))


def union_of(members: list[Any]) -> Any:
    return typing.Union[tuple(members)]  # noqa: UP007  its members are known at run time only


def _check_devices(value: Any) -> None:
    listed = isinstance(value, list) and value and all(type(each) is int for each in value)
    text = isinstance(value, str) and _DEVICES.fullmatch(value)
    if not (listed or text or (type(value) is int and (1 <= value <= _MOST or value == -1))):
        raise ConfigError(
            f"trainer.devices: {shown(value)} is neither a number of devices, nor a list of their indices, nor auto."
        )


def check_path(value: Any, key: str) -> None:
    too_long = isinstance(value, str) and any(len(part.encode()) > 255 for part in value.split("/"))
    if too_long or (isinstance(value, str) and "\0" in value):
        raise ConfigError(f"{key}: {shown(value)} cannot be a path: a name in it is longer than 255 bytes.")


class _Arguments(Mapping[str, Any]):
    """The arguments of Lightning's Trainer as its file has them; each type is worked out when it is asked for."""

    def __init__(self, trainer: Class) -> None:
        self._written = trainer.arguments()

    def __getitem__(self, name: str) -> Any:
        source, annotation = self._written[name]
        try:
            return Any if annotation is None else source.evaluate(annotation)
        except Unreadable:
            return _imported_arguments()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._written)

    def __len__(self) -> int:
        return len(self._written)


def trainer_arguments() -> Mapping[str, Any]:
    """The arguments of Lightning's Trainer, with their types."""
    try:
        trainer = source_of("lightning.pytorch.trainer.trainer").find_class("Trainer")
        return _imported_arguments() if trainer is None else _Arguments(trainer)
    except Unreadable:
        return _imported_arguments()


def _imported_arguments() -> dict[str, Any]:
    from lightning.pytorch import Trainer

    hints = typing.get_type_hints(Trainer.__init__)
    return {name: hints[name] for name in inspect.signature(Trainer.__init__).parameters if name != "self"}
