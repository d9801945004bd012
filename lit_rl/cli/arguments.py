"""What files and options come to together, as arguments of Lightning's parser."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lit_rl.cli.blocks import Path_, free_dictionaries
from lit_rl.cli.given import Given, model_name, put_together
from lit_rl.cli.models import model_settings
from lit_rl.cli.text import write_value
from lit_rl.cli.trainer_classes import KINDS, checked_classes


def parser_arguments(given: list[Given]) -> list[str]:
    """The arguments for the parser, in which every free dictionary has its final value.

    The parser would let each dictionary replace the one before. Here they are merged, key by key, in the order in
    which they stand; anything else replaces, and `null` takes the whole away.
    """
    name = model_name(given)
    paths = list(free_dictionaries(None if name is None else model_settings(name)))
    argv, merged, classes = list[str](), dict[Path_, Any](), _classes(given)
    paths_of_classes = [("trainer", key) for key in classes]
    for each in given:
        tree = each.tree
        for path in paths:
            value, found = _taken(tree, path)
            if found:
                merged[path] = put_together(merged.get(path), value)
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
                spec["init_args"] = put_together(spec.get("init_args") or {}, own)
                found[key] = [*before, spec] if isinstance(old, list) else spec
            else:
                found[key] = value
    return found


def _taken(tree: Any, path: Path_) -> tuple[Any, bool]:
    for key in path:
        if not isinstance(tree, dict) or key not in tree:
            return None, False
        tree = tree[key]
    return tree, tree is None or isinstance(tree, dict)  # what is neither is a mistake, which is found elsewhere


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
