"""What the command line gives: configuration files and options, in their order, and what they come to together."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lit_rl.cli.blocks import BLOCKS, CLASS_KEYS, model_class, model_parameters
from lit_rl.cli.text import read_value, read_yaml, write_value
from lit_rl.cli.trainer_block import KINDS, checked_classes
from lit_rl.errors import ConfigError
from lit_rl.ops.limits import union_members

Path_ = tuple[str, ...]

FLAGS = ("print_config", "help")
"""Options that may stand without a value."""


@dataclass
class Given:
    """A configuration file or an option.

    Args:
        name: of the option (`env.n_envs`), or `config`.
        text: its value, as it stands; `None` where there is none.
        tree: the same as nested dictionaries.
        added: whether it adds to a list (`--trainer.callbacks+=Timer`).
    """

    name: str
    text: str | None
    tree: dict[str, Any]
    added: bool = False

    @property
    def is_file(self) -> bool:
        return self.name == "config"

    @property
    def where(self) -> str:
        """What to call it in messages: a file's path, or `--`."""
        return str(self.text) if self.is_file else "--"


def read_arguments(argv: Sequence[str]) -> list[Given]:
    """Files and options in their order.

    Raises:
        ConfigError: a file cannot be read, an option has no value, or something is neither.
    """
    found, rest = list[Given](), list(argv)
    while rest:
        argument = rest.pop(0)
        if not argument.startswith("-") or argument == "-":
            raise ConfigError(_stray(argument))
        name, equals, text = argument.lstrip("-").partition("=")
        given: str | None = text if equals else None
        if given is None and rest and not _is_option(rest[0]):
            given = rest.pop(0)
        if name in ("config", "c"):
            if given is None:
                raise ConfigError("--config needs a file.")
            found.append(Given("config", given, _without_empty_blocks(read_yaml(Path(given)))))
            continue
        if argument.startswith("--") is False and name not in ("h",):
            raise ConfigError(f"{argument}: there is no such option; options begin with --.")
        if name in ("h", *FLAGS) or name.startswith(tuple(f"{flag}." for flag in FLAGS)) or name.endswith(".help"):
            found.append(Given({"h": "help"}.get(name, name), given, {}))
            continue
        if given is None:
            raise ConfigError(f"--{name} needs a value.")
        plain = name.removesuffix("+")
        found.append(Given(plain, given, _nested(plain, read_value(given, plain)), added=plain != name))
    return found


def _is_option(argument: str) -> bool:
    return argument.startswith("-") and not argument[1:2].isdigit() and not argument.startswith("-.")


def _stray(argument: str) -> str:
    path = Path(argument)
    if path.suffix in (".yaml", ".yml"):
        return f"{argument}: a configuration is given as --config {argument}."
    config = own_config(argument)
    if config is not None:
        return f"{argument}: a run is given as --config {config} --ckpt_path {argument}."
    if path.exists():
        return f"{argument}: a configuration is given as --config FILE, a checkpoint as --ckpt_path {argument}."
    return f"{argument}: is neither an option, which begins with --, nor the value of one."


def own_config(path: str) -> Path | None:
    """The configuration that a run keeps, by its directory or by one of its checkpoints."""
    places = [Path(path), *Path(path).absolute().parents[:3]] if Path(path).exists() else []
    found = next((place / "config.yaml" for place in places if (place / "lineage.json").exists()), None)
    if found is None or not found.exists():
        return None
    return found.relative_to(Path.cwd()) if found.is_absolute() and found.is_relative_to(Path.cwd()) else found


def _nested(name: str, value: Any) -> dict[str, Any]:
    """`env.kwargs.x` as nested dictionaries; `model.n_steps` means the same as `model.init_args.n_steps`."""
    keys = name.split(".")
    if keys[0] == "model" and len(keys) > 1 and keys[1] not in CLASS_KEYS:
        keys.insert(1, "init_args")
    for key in reversed(keys):
        value = {key: value}
    nested: dict[str, Any] = value
    return nested


def _without_empty_blocks(tree: dict[str, Any]) -> dict[str, Any]:
    """A block with nothing in it says nothing."""
    given = {key: value for key, value in tree.items() if value is not None or key not in (*BLOCKS, "trainer")}
    model = given.get("model")
    if isinstance(model, dict) and model.get("init_args", 0) is None:
        given["model"] = {key: value for key, value in model.items() if key != "init_args"}
    return given


def model_name(given: Iterable[Given]) -> str | None:
    """The algorithm that files and options name; the last one counts."""
    name = None
    for each in given:
        model = each.tree.get("model")
        found = model.get("class_path") if isinstance(model, dict) else model
        name = str(found) if found else name
    return name


def parser_arguments(given: list[Given]) -> list[str]:
    """The arguments for the parser, in which every free dictionary has its final value.

    The parser would let each dictionary replace the one before. Here they are merged, key by key, in the order in
    which they stand; anything else replaces, and `null` takes the whole away.
    """
    name = model_name(given)
    paths = list(free_dictionaries(None if name is None else model_class(name)))
    argv, merged, classes = list[str](), dict[Path_, Any](), _classes(given)
    paths_of_classes = [("trainer", key) for key in classes]
    for each in given:
        tree = each.tree
        for path in paths:
            value, found = _taken(tree, path)
            if found:
                merged[path] = _merged(merged.get(path), value)
                tree = _without(tree, path)
        for path in paths_of_classes:
            if path[1] in (tree.get("trainer") or {}):
                tree = _without(tree, path)
        if each.is_file:
            env = tree.get("env")
            if isinstance(env, dict) and [*env] == ["class_path"]:  # which the parser would take for a class of records
                tree = {key: value for key, value in tree.items() if key != "env"}
                argv += [f"--config={write_value(tree)}", f"--env.class_path={write_value(env['class_path'])}"]
                continue
            argv.append(f"--config={write_value(tree)}")
        elif each.tree == tree or _leaves(tree):
            text = each.text if each.tree == tree else write_value(_at(tree, each.name))
            argv += (
                [f"--{each.name}{'+' * each.added}"] if text is None else [f"--{each.name}{'+' * each.added}={text}"]
            )
    argv += [f"--{'.'.join(path)}={write_value(value or {})}" for path, value in merged.items()]
    argv += [f"--trainer.{key}={write_value(checked_classes(value, key))}" for key, value in classes.items()]
    return argv


def _classes(given: Iterable[Given]) -> dict[str, Any]:
    """What the Trainer's options come to that take classes (`trainer.logger`): each file or option replaces the one
    before; `+=` adds to it, and one that names no class reaches into the last one (`--trainer.logger.save_dir logs`).
    """
    found: dict[str, Any] = {}
    for each in given:
        options = each.tree.get("trainer")
        for key, value in options.items() if isinstance(options, dict) else ():
            if key not in KINDS:
                continue
            if each.added:
                old = found.get(key)
                found[key] = [*(old if isinstance(old, list) else [] if old is None else [old]), value]
            elif isinstance(value, dict) and "class_path" not in value and not each.is_file:
                old = found.get(key)
                *before, last = old if isinstance(old, list) and old else [old]
                spec = dict(last) if isinstance(last, dict) else {"class_path": last}
                own = value.get("init_args") if isinstance(value.get("init_args"), dict) else value
                spec["init_args"] = _merged(spec.get("init_args") or {}, own)
                found[key] = [*before, spec] if isinstance(old, list) else spec
            else:
                found[key] = value
    return found


def free_dictionaries(model: type | None) -> Iterator[Path_]:
    """Where settings are dictionaries with keys of the user's own."""
    for key, record in BLOCKS.items():
        yield from (((key, *path)) for path in _free(record))
    for name, hint in ({} if model is None else model_parameters(model)).items():
        if _is_free(hint):
            yield "model", "init_args", name


def _free(record: Any) -> Iterator[Path_]:
    for name, hint in typing.get_type_hints(record).items():
        if dataclasses.is_dataclass(hint):
            yield from ((name, *path) for path in _free(hint))
        elif _is_free(hint):
            yield (name,)


def _is_free(hint: Any) -> bool:
    return any((typing.get_origin(option) or option) is dict for option in union_members(hint))


def _taken(tree: Any, path: Path_) -> tuple[Any, bool]:
    for key in path:
        if not isinstance(tree, dict) or key not in tree:
            return None, False
        tree = tree[key]
    return tree, tree is None or isinstance(tree, dict)  # what is neither is a mistake, which is found elsewhere


def _merged(old: Any, new: Any) -> Any:
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}


def _without(tree: dict[str, Any], path: Path_) -> dict[str, Any]:
    key, *rest = path
    if not rest:
        return {name: value for name, value in tree.items() if name != key}
    return {**tree, key: _without(tree[key], tuple(rest))}


def _leaves(tree: Any) -> bool:
    return any(map(_leaves, tree.values())) if isinstance(tree, dict) else True


def _at(tree: dict[str, Any], name: str) -> Any:
    value: Any = tree
    for key in name.split("."):
        value = value[key]
    return value
