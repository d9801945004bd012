"""The parser's complaints in one line: the key, what is wrong, the fix."""

from __future__ import annotations

import inspect
import re
import sys

from lit_rl.errors import did_you_mean
from lit_rl.ops.limits import TYPE_NAMES

_TYPES = {str(kind): name for kind, name in TYPE_NAMES.items()}
_KEY = re.compile(r'Parser key "([^"]+)"')
_EXPECTED = re.compile(r"Expected an? (.+?)\. Got value: (.*)")
_CAUSE = re.compile(r"^ *- (.+)$", re.MULTILINE)
_LITERAL = re.compile(r"typing\.Literal\[(.*)\]")


_SWITCH = re.compile(r"Subtypes: \[<class 'bool'>, <class '([\w.]+)'>\]")
_CLASS = re.compile(r"Problem with given class_path '([\w.]+)'")


def one_line(text: str) -> str:
    """A jsonargparse error as one line.

    The deepest key and expectation in the text are the ones that say what is wrong.
    """
    required = re.search(r"the following arguments are required: (?:\w+\.)?(.+)", text)
    if required:
        keys = required[1].strip()
        hint = " Name an algorithm, such as `model: {class_path: PPO}`." if keys == "model" else ""
        return f"{keys} is missing.{hint}"
    before = re.search(r"Option '(.+)' is not accepted before subcommand '(\w+)'", text)
    if before:
        return f"options come after the command: lit-rl {before[2]} --config run.yaml"
    keys = [key for key in _KEY.findall(text) if key != "model"]
    key = ".".join(keys) if keys else "model" if '"model"' in text else ""
    if key and not text.lstrip().startswith(f'Parser key "{keys[0] if keys else key}"') and '"model"' in text:
        key = f"model.{key}"
    expected = [pair for pair in _EXPECTED.findall(text) if pair[0] != "<class 'NoneType'>"]
    if expected:
        kind, value = expected[-1]
        literal = _LITERAL.search(kind)
        if literal:
            choices = [choice.strip().strip("'") for choice in literal[1].split(",")]
            return f"{key}: '{value}' is not one of {', '.join(choices)}.{did_you_mean(value, choices)}"
        whole = re.fullmatch(r"(\d+)\.0", value)
        hint = f" Write {whole[1]}." if whole and kind == "<class 'int'>" else ""
        return f"{key}: expected {_TYPES.get(kind, kind)}, got {value}.{hint}"
    option = re.search(r"[Oo]ption '(.+)' is not accepted", text)
    if option:
        return f"{key or 'model'}.{option[1]}: unknown key.{_nearest(option[1], text[: option.start()])}"
    switch = _SWITCH.search(text)
    if switch:
        given = re.findall(r"Given value: (.*)", text)[0]
        names = ", ".join(_settings(switch[1]))
        return f"{key}: expected true, false, or keys and values of {names}, got {given}."
    unrecognized = re.search(r"[Uu]nrecognized arguments: (.*)", text)
    if unrecognized:
        return f"{unrecognized[1]}: there is no such option."
    causes = [each for each in _CAUSE.findall(text) if not each.startswith(("Expected a", "Not a valid subclass"))]
    if causes and "Does not validate" in text:
        return f"{key or 'model'}: {causes[-1]}"
    lines = [line.strip(" -") for line in text.splitlines() if line.strip()]
    head = lines[0] if lines else text
    return f"{key}: {lines[-1]}" if key and len(lines) > 1 else head


def _nearest(name: str, before: str) -> str:
    """The setting that was probably meant, of the class that the text speaks of last."""
    found = _CLASS.findall(before)
    return did_you_mean(name, _settings(found[-1])) if found else ""


def _settings(path: str) -> list[str]:
    """Names of the arguments of a class that has been imported."""
    module, _, name = path.rpartition(".")
    cls = getattr(sys.modules.get(module), name, None)
    return [] if cls is None else [name for name in inspect.signature(cls).parameters if name != "self"]
