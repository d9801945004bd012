"""`fit --help`, `validate --help` and `test --help`: every option with its type, default and meaning, ours first.

Made from what the records and files say, without the parser, which takes torch and Lightning to be imported.
"""

from __future__ import annotations

import dataclasses
import shutil
import textwrap
import typing
from collections.abc import Iterable, Iterator
from typing import Any

from lit_rl.cli.blocks import BLOCKS
from lit_rl.cli.models import model_settings, models_by_name
from lit_rl.cli.settings import (
    DESCRIPTIONS,
    EPISODES,
    MISSING,
    TOP,
    Setting,
    block_settings,
    settings_of,
    trainer_settings,
)
from lit_rl.cli.text import write_value
from lit_rl.ops.limits import union_members

_NARROWEST, _WIDEST = 80, 120
_INDENT = 6


def help_text(command: str, model: str | None) -> str:
    """The whole page.

    Args:
        command: `fit`, `validate` or `test`.
        model: the algorithm whose settings are listed; without one, how to name it.
    """
    width = min(max(shutil.get_terminal_size().columns, _NARROWEST), _WIDEST)
    lines = [_usage(command), "", *textwrap.wrap(DESCRIPTIONS[command], width), ""]
    lines += textwrap.wrap(
        "Every option is a key of the YAML too, and may be given as an environment variable "
        f"({variable_example(command)}). Files and options count in the order in which they stand.",
        width,
    )
    lines += ["", *_group("The run", [*TOP.values(), *([EPISODES] if command != "fit" else [])], width)]
    lines += _entry("--config FILE", "a YAML with settings; may be given several times.", width)
    if command == "fit":
        lines += _entry("--seeds 1,2,3", "train this over several seeds, one run after the other.", width)
    lines += _entry("--print_config", "print the settings as the run would have them, and end.", width)
    for block, record in BLOCKS.items():
        title = (record.__doc__ or "").partition("\n")[0]
        lines += ["", *_group(f"{block}: {title}", block_settings(block), width)]
    lines += ["", *_model(model, width)]
    lines += ["", *_group("trainer: Lightning's Trainer, what of it means something here.", trainer_settings(), width)]
    return "\n".join(lines)


def variable_example(command: str) -> str:
    """An environment variable that a command reads."""
    return f"PL_{command.upper()}__ENV__N_ENVS=8"


def _usage(command: str) -> str:
    where = "[RUN] " if command != "fit" else ""
    return f"usage: lit-rl {command} {where}[--config FILE ...] [--KEY VALUE ...]"


def _model(model: str | None, width: int) -> Iterator[str]:
    if model is None:
        names = ", ".join(models_by_name())
        yield "model: the algorithm"
        yield from _entry("--model NAME", f"one of {names}, or the import path of one of your own.", width)
        text = (
            "`lit-rl fit --help --model PPO` lists an algorithm's settings, and so does a --config that names it "
            "(`model: {class_path: PPO}`)."
        )
        yield from (f"  {line}" for line in textwrap.wrap(text, width - 2))
        return
    settings = model_settings(model)
    title = settings.doc.partition("\n")[0]
    yield from _group(f"model: {model}. {title}", settings_of(settings), width)


def _group(title: str, settings: Iterable[Setting], width: int) -> Iterator[str]:
    yield from textwrap.wrap(title, width)
    for each in settings:
        default = "" if each.default is MISSING else f" (default: {shown_default(each.default)})"
        yield from _entry(f"--{each.key} {kind_of(each.hint)}", f"{each.said}{default}".strip(), width)


def _entry(option: str, text: str, width: int) -> Iterator[str]:
    yield from textwrap.wrap(
        option, width, initial_indent="  ", subsequent_indent=" " * _INDENT, break_on_hyphens=False
    )
    yield from textwrap.wrap(
        text, width, initial_indent=" " * _INDENT, subsequent_indent=" " * _INDENT, break_on_hyphens=False
    )


def shown_default(value: Any) -> str:
    """A default as the YAML has it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    try:
        return write_value(value)
    except Exception:  # an object that only Python has
        return str(value)


_SHORT = {bool: "true|false", int: "INT", float: "NUMBER", str: "TEXT", dict: "{...}", list: "[...]"}
_CLASSES = {"Schedule": "{start, end, ...}", "timedelta": "", "Path": "", "Iterable": ""}


def kind_of(hint: Any) -> str:
    """A type in a few letters, as usage lines have it."""
    found = [text for member in union_members(hint) for text in _kinds(member)]
    if "[CLASS, ...]" in found:
        found = [each for each in found if each != "CLASS"]
    return "|".join(dict.fromkeys(each for each in found if each))


def _kinds(member: Any) -> Iterator[str]:
    origin = typing.get_origin(member) or member
    if origin is typing.Literal:
        yield from (str(choice) for choice in typing.get_args(member))
    elif member is type(None):
        yield "null"
    elif origin is list and typing.get_args(member):
        inner = kind_of(typing.get_args(member)[0])
        yield f"[{inner}, ...]"
    elif origin is tuple:
        yield f"[{', '.join(kind_of(each) for each in typing.get_args(member))}]"
    elif origin in _SHORT:
        yield _SHORT[origin]
    elif isinstance(origin, type):
        named = _CLASSES.get(origin.__name__)
        yield ("{...}" if hasattr(origin, "__dataclass_fields__") else "CLASS") if named is None else named
    else:
        yield "VALUE"
