"""What may come next on a command line: commands, options, values, runs; and the scripts that ask for it."""

from __future__ import annotations

import contextlib
import typing
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lit_rl.cli.dispatch import files
from lit_rl.cli.options import Option, options_of
from lit_rl.errors import ConfigError
from lit_rl.ops.limits import union_members

SCRIPTS = {
    "bash": """\
_lit_rl() {
    local IFS=$'\\n'
    COMPREPLY=($("${COMP_WORDS[0]}" completion candidates "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _lit_rl lit-rl
""",
    "zsh": """\
#compdef lit-rl
_lit_rl() {
    local -a found
    found=("${(@f)$("${words[1]}" completion candidates "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "${found[1]}" ]]; then compadd -a found; else _files; fi
}
compdef _lit_rl lit-rl
""",
    "fish": """\
complete -c lit-rl -a '(lit-rl completion candidates (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
""",
}
"""By shell. Where nothing is found, each completes files."""

_LIGHTNING = ("fit", "validate", "test")
_RUNS = ("run", "runs", "path", "checkpoint", "ckpt_path", "resume.checkpoint", "warmstart.checkpoint")
_ENVIRONMENTS = ("env", "env.id")
_ALGORITHMS = ("algorithm", "model", "model.class_path")


def candidates(words: Sequence[str]) -> list[str]:
    """What the last word may become; nothing where it is a file's name.

    Args:
        words: what is typed after `lit-rl`; the last one is being typed.
    """
    words = [word for word in words if word != "="] if words else [""]  # bash splits --key=value at the sign
    if words and words[-1].startswith("--") and "=" in words[-1]:
        option, _, value = words[-1].partition("=")
        return [f"{option}={each}" for each in candidates([*words[:-1], option, value])]
    *before, current = words
    if not before:
        found: Iterable[str] = files()
    elif before[0] not in files():
        found = ()
    else:
        found = _within(before[0], before[1:], current)
    return sorted({each for each in found if each.startswith(current)})


def _within(command: str, before: Sequence[str], current: str) -> Iterable[str]:
    if command == "completion":
        return SCRIPTS
    options = options_of(files()[command])
    if before and before[-1].startswith("--"):
        name = before[-1].removeprefix("--")
        known = next((each for each in options if each.name == before[-1]), None)
        if known is None or not known.is_flag:
            return _values(name, known, _hint(command, name, before))
    if current.startswith("-"):
        listed = [each.name for each in options if each.name.startswith("--")]
        return [*listed, *(f"--{key}" for key in _keys(command, before)), "--help"]
    places = [each.name for each in options if not each.name.startswith("-")]
    if command in ("validate", "test") and not before:
        places = ["run"]
    return [each for place in places for each in _values(place, None, None)]


def _values(name: str, option: Option | None, hint: Any) -> Iterable[str]:
    """The values that an option, or an argument without dashes, takes."""
    if option is not None and option.choices:
        return option.choices
    if name in _RUNS:
        return [*_runs(), *(("last", "best") if name == "resume.checkpoint" else ())]
    if name == "name":
        return {Path(run).parent.name for run in _runs()}
    if name in _ENVIRONMENTS:
        import gymnasium

        return gymnasium.registry
    if name in _ALGORITHMS:
        from lit_rl.cli.models import models_by_name

        return models_by_name()
    return _choices(hint)


def _choices(hint: Any) -> Iterator[str]:
    for member in union_members(hint):
        if typing.get_origin(member) is typing.Literal:
            yield from map(str, typing.get_args(member))
        elif member is bool:
            yield from ("true", "false")


def _runs() -> list[str]:
    from lit_rl.run.wanted import DEFAULT_ROOT

    return [str(place) for place in sorted(Path(DEFAULT_ROOT).glob("*/version_*")) if place.is_dir()]


def _settings(command: str, before: Sequence[str]) -> dict[str, Any]:
    """Every key of `fit` and its like by name, those of the algorithm that has been named among them."""
    if command not in _LIGHTNING:
        return {}
    from lit_rl.cli.blocks import BLOCKS
    from lit_rl.cli.models import model_settings
    from lit_rl.cli.settings import EPISODES, TOP, block_settings, settings_of, trainer_settings

    found = [*TOP.values(), *(each for block in BLOCKS for each in block_settings(block)), *trainer_settings()]
    if command != "fit":
        found.append(EPISODES)
    with contextlib.suppress(ConfigError):
        model = _model(before)
        found += settings_of(model_settings(model)) if model is not None else []
    return {each.key: each.hint for each in found}


def _model(before: Sequence[str]) -> str | None:
    from lit_rl.cli.given import model_name, read_arguments

    pairs = [before[i : i + 2] for i in range(len(before) - 1) if before[i] in ("--config", "--model", "-c")]
    return model_name(each for pair in pairs for each in read_arguments(pair))


def _keys(command: str, before: Sequence[str]) -> Iterable[str]:
    settings = _settings(command, before)
    return [*settings, *(("config", "print_config", "model") if settings else ())]


def _hint(command: str, name: str, before: Sequence[str]) -> Any:
    return _settings(command, before).get(name)
