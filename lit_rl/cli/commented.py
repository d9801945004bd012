"""A run.yaml in which every key stands with its meaning: those that are given, and all others commented out.

What is prose begins with `# `, and a key that is commented out with `#` alone.
"""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from lit_rl.cli.blocks import BLOCKS
from lit_rl.cli.help import shown_default
from lit_rl.cli.models import model_settings
from lit_rl.cli.settings import MISSING, TOP, Setting, record_settings, settings_of, trainer_settings

_WIDTH = 100
_LAST = ("resume", "warmstart", "curriculum", "ranks")
"""Blocks that a new run rarely has stand at the end."""


def commented(config: Mapping[str, Any], head: list[str]) -> str:
    """The file's text.

    Args:
        config: what is given, as a YAML has it; `model` with `class_path` and `init_args`.
        head: prose at the file's head, a paragraph each.
    """
    lines = [line for paragraph in head for line in _prose(paragraph, "")]
    lines.append("")
    for setting in TOP.values():
        lines += _key(setting, config, "")
    first = [block for block in BLOCKS if block not in _LAST]
    lines += _block("env", config)
    lines += _model(config["model"])
    for block in (*(each for each in first if each != "env"), *_LAST):
        lines += _block(block, config)
    lines += ["", "# Lightning's Trainer.", "#trainer:"]
    for setting in trainer_settings():
        lines += _key(setting, {}, "  ")
    return "\n".join(lines) + "\n"


def _block(block: str, config: Mapping[str, Any]) -> Iterator[str]:
    record: Any = BLOCKS[block]
    yield ""
    yield from _prose((record.__doc__ or "").partition("\n")[0], "")
    yield f"{block}:" if block in config else f"#{block}:"
    yield from _fields(record_settings(record, block), config.get(block, {}), "  ")


def _fields(settings: list[Setting], given: Mapping[str, Any], indent: str) -> Iterator[str]:
    for setting in settings:
        if not dataclasses.is_dataclass(setting.hint):
            yield from _key(setting, given, indent)
            continue
        inner = record_settings(setting.hint, setting.key)
        yield from _prose((setting.hint.__doc__ or "").partition("\n")[0], indent)
        yield f"{indent}{'' if setting.name in given else '#'}{setting.name}:"
        yield from _fields(inner, given.get(setting.name, {}), f"{indent}  ")


def _model(model: Mapping[str, Any]) -> Iterator[str]:
    settings = model_settings(model["class_path"])
    yield ""
    yield from _prose(settings.doc.partition("\n")[0], "")
    yield "model:"
    yield f"  class_path: {model['class_path']}"
    yield "  init_args:"
    for setting in settings_of(settings):
        yield from _key(setting, model["init_args"], "    ")


def _key(setting: Setting, given: Mapping[str, Any], indent: str) -> Iterator[str]:
    yield from _prose(setting.help, indent)
    if setting.name in given:
        yield f"{indent}{setting.name}: {shown_default(given[setting.name])}"
    elif setting.default is not MISSING:
        yield f"{indent}#{setting.name}: {shown_default(setting.default)}"


def _prose(text: str, indent: str) -> list[str]:
    start = f"{indent}# "
    return textwrap.wrap(text, _WIDTH, initial_indent=start, subsequent_indent=start, break_on_hyphens=False)
