"""A JSON schema of run.yaml, for editors: made of the same records, types and ranges that the checks go by."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Iterable
from typing import Any

from lit_rl.cli.blocks import BLOCKS, CLASS_KEYS
from lit_rl.cli.models import models_by_name
from lit_rl.cli.settings import MISSING, TOP, Setting, record_settings, settings_of, trainer_settings
from lit_rl.ops.limits import Limit, union_members
from lit_rl.ops.schedules import ZOO_FORM, Schedule
from lit_rl.training.refused import REFUSED

Schema = dict[str, Any]

_PLAIN: dict[Any, Schema] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    dict: {"type": "object"},
    type(None): {"type": "null"},
}
_IMPORT_PATH = r"^\s*[^\W\d]\w*([.:][^\W\d]\w*)+\s*$"


def schema() -> Schema:
    """The schema of a run's YAML (draft 2020-12)."""
    properties = {name: _of_setting(setting) for name, setting in TOP.items()}
    properties |= {block: _or_null(_of_record(record, block)) for block, record in BLOCKS.items()}
    models = {name: settings_of(settings) for name, settings in models_by_name().items()}
    properties["model"] = _model(models)
    properties["trainer"] = _or_null(_trainer())
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "lit_rl run.yaml",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "$defs": {name: _object(settings) for name, settings in models.items()},
    }


def _model(models: dict[str, list[Setting]]) -> Schema:
    """An algorithm by name with its own settings, or one of the user's own with any."""
    names = {"anyOf": [{"enum": [*models]}, {"type": "string", "pattern": _IMPORT_PATH}]}
    own = [
        {
            "if": {"properties": {"class_path": {"const": name}}, "required": ["class_path"]},
            "then": {"properties": {"init_args": {"anyOf": [{"$ref": f"#/$defs/{name}"}, {"type": "null"}]}}},
        }
        for name in models
    ]
    block = {
        "type": "object",
        "properties": {
            "class_path": {"description": "The algorithm, by name or import path.", **names},
            "init_args": {"description": "The algorithm's settings.", "type": ["object", "null"]},
            **{key: {"type": "object"} for key in CLASS_KEYS if key not in ("class_path", "init_args")},
        },
        "additionalProperties": False,
        "allOf": own,
    }
    return {"description": "The algorithm and its settings.", "if": {"type": "object"}, "then": block, "else": names}


def _trainer() -> Schema:
    """Options that mean nothing here may only stand with the value that asks for nothing."""
    block = _object(trainer_settings())
    block["properties"] |= {
        name: {"description": f"Not used here: {refused.instead}.", "enum": [*refused.unset]}
        for name, refused in REFUSED.items()
    }
    return {"description": "Lightning's Trainer.", **block}


def _object(settings: Iterable[Setting], required: Iterable[str] = ()) -> Schema:
    properties = {each.name: _of_setting(each) for each in settings}
    found: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return found | ({"required": [*required]} if required else {})


def _of_record(record: Any, key: str) -> Schema:
    settings = record_settings(record, key)
    required = [each.name for each in settings if each.default is MISSING]
    title = (record.__doc__ or "").partition("\n")[0]
    return {"description": title, **_object(settings, required)}


def _of_setting(setting: Setting) -> Schema:
    if dataclasses.is_dataclass(setting.hint):
        return _of_record(setting.hint, setting.key)
    found = _of_type(setting.hint, setting.limit, setting)
    if setting.help:
        found = {"description": setting.help, **found}
    if setting.default is not MISSING and not isinstance(setting.default, type):
        with_default = _plain(setting.default)
        found = found if with_default is MISSING else {**found, "default": with_default}
    return found


def _of_type(hint: Any, limit: Limit | None, setting: Setting | None = None) -> Schema:
    """A type with the range of its numbers. What is no plain type takes anything, as the checks do."""
    members = [_of_member(member, limit, setting) for member in union_members(hint)]
    if Schedule in union_members(hint):  # text is only that of a schedule
        members = [
            {"type": "string", "pattern": f"^{ZOO_FORM.pattern}$"} if each == _PLAIN[str] else each for each in members
        ]
    if {} in members:
        return {}
    if hint is dict and setting is not None:
        members.append(_PLAIN[type(None)])  # takes away what files before it have given
    return members[0] if len(members) == 1 else {"anyOf": members}


def _of_member(member: Any, limit: Limit | None, setting: Setting | None) -> Schema:
    origin, inner = typing.get_origin(member) or member, typing.get_args(member)
    if origin is typing.Literal:
        return {"enum": [*inner]}
    if origin in (int, float):
        return _ranged(dict(_PLAIN[origin]), limit)
    if origin is list:
        items = setting.items if setting is not None and setting.items is not None else inner[0] if inner else Any
        return {"type": "array", "items": _of_type(items, limit)}
    if origin is tuple:
        return {"type": "array", "prefixItems": [_of_type(each, limit) for each in inner], "items": False}
    if dataclasses.is_dataclass(origin):
        return _of_record(origin, "")
    return dict(_PLAIN.get(origin, {}))


def _ranged(number: Schema, limit: Limit | None) -> Schema:
    if limit is None:
        return number
    found = dict(number)
    if limit.low > -math.inf:
        found["exclusiveMinimum" if limit.without_low else "minimum"] = limit.low
    if limit.high < math.inf:
        found["maximum"] = limit.high
    return {"anyOf": [{"enum": [*limit.besides]}, found]} if limit.besides else found


def _or_null(block: Schema) -> Schema:
    """A block with nothing in it says nothing."""
    description = block.pop("description", "")
    return {"description": description, "anyOf": [block, _PLAIN[type(None)]]}


def _plain(value: Any) -> Any:
    """A default as JSON has it; `MISSING` for what it has not."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, float) and not math.isfinite(value):
        return MISSING
    return value if isinstance(value, str | bool | int | float | list | dict | None) else MISSING
