"""What files and options come to together, as far as it can be told without torch and Lightning.

Whatever is not certain here is left to the run, which finds the same mistakes once it has imported them.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lit_rl.cli.blocks import BLOCKS
from lit_rl.cli.given import Given
from lit_rl.envs.build import check_id
from lit_rl.envs.config import EnvConfig
from lit_rl.errors import ConfigError
from lit_rl.run.directory import CONFIG, LINEAGE, check_name
from lit_rl.run.wanted import DEFAULT_ROOT, NO_PARENT, refuse_missing

_IMPORT_PATH = re.compile(r"\s*[^\W\d]\w*([.:][^\W\d]\w*)+\s*")


def check_together(given: Sequence[Given]) -> None:
    """Check the blocks that one file gives whole, the run's name, what it begins from and the environment's id.

    Raises:
        ConfigError: settings of a block clash, or there is no such checkpoint or environment.
    """
    made = {block: _made(given, block) for block in BLOCKS}
    name = name_given(given)
    if last_given(given, "requeue") not in (None, False):
        return  # goes on with a run, if there is one
    mode, wanted = last_given(given, "mode", otherwise="fresh"), last_given(given, "ckpt_path")
    root = root_given(given)
    if wanted is not None or mode == "resume":
        wanted = wanted or last_given(given, "resume", "checkpoint", otherwise="last")
        refuse_missing(str(wanted), root, name, "resume.checkpoint")
        return
    if mode == "warmstart":
        wanted = last_given(given, "warmstart", "checkpoint")
        if wanted is None:
            raise ConfigError(NO_PARENT)
        refuse_missing(str(wanted), root, name, "warmstart.checkpoint")
    _check_environment(given, made["env"] or EnvConfig(id=last_given(given, "env", "id")))


def root_given(given: Sequence[Given]) -> Path:
    """Where runs lie."""
    return Path(str(last_given(given, "trainer", "default_root_dir") or DEFAULT_ROOT))


def own_run(given: Sequence[Given]) -> list[Given]:
    """What a run's own `config.yaml` stands for where a run is to be resumed and no option says which: that run."""
    key = "resume.checkpoint"
    named = any(each.name in (key, "ckpt_path") and not each.is_file for each in given)
    files = [Path(each.where) for each in given if each.is_file]
    if named or not files or last_given(given, "mode", otherwise="fresh") != "resume":
        return []
    runs = [file.parent for file in files if file.name == CONFIG and (file.parent / LINEAGE).is_file()]
    if not runs:
        return []
    run = runs[-1]
    return [Given(key, str(run), {"resume": {"checkpoint": str(run)}})]


def _made(given: Sequence[Given], block: str) -> Any:
    """The record of a block that one file gives whole."""
    givers = [each for each in given if block in each.tree]
    if len(givers) != 1 or not givers[0].is_file:
        return None
    hints = typing.get_type_hints(BLOCKS[block])
    values = {key: each for key, each in givers[0].tree[block].items() if each is not None or hints[key] is not dict}
    make: Callable[..., Any] = getattr(BLOCKS[block], "from_plain", lambda values: BLOCKS[block](**values))
    return make(values)


def _check_environment(given: Sequence[Given], config: EnvConfig) -> None:
    """Refuse an id that is not there, unless a class that is named somewhere may register it when it is imported."""
    native, levels = last_given(given, "env", "backend") == "native", last_given(given, "curriculum")
    if native or levels or last_given(given, "env", "class_path") is not None:
        return
    if config.id is None or not any(_IMPORT_PATH.fullmatch(text) for each in given for text in _texts(each.tree)):
        check_id(config)


def last_given(given: Sequence[Given], *path: str, otherwise: Any = None) -> Any:
    """The value that counts of those given for a key."""
    for each in reversed(given):
        value: Any = each.tree
        for key in path:
            value = value.get(key, each) if isinstance(value, dict) else each
        if value is not each:
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            return each.text if is_number and not each.is_file else value  # such as a run that is called 1e3
    return otherwise


def name_given(given: Sequence[Given]) -> str:
    """The name of the run. An option's is its text, whatever YAML would take that for.

    Raises:
        ConfigError: it is no name of a directory.
    """
    last = next((each for each in reversed(given) if "name" in each.tree), None)
    name = "run" if last is None else last.tree["name"] if last.is_file else last.text or ""
    check_name(name)
    return str(name)


def _texts(value: Any) -> Iterator[str]:
    """Every text at any depth."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value
