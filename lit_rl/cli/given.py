"""What the command line gives: configuration files and options, in their order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lit_rl.cli.blocks import BLOCKS, CLASS_KEYS
from lit_rl.cli.text import read_value, read_yaml
from lit_rl.errors import ConfigError

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
        variable: the environment variable that it stands in; `None` for files and options.
    """

    name: str
    text: str | None
    tree: dict[str, Any]
    added: bool = False
    variable: str | None = None

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


def put_together(old: Any, new: Any) -> Any:
    """Two values of a key, of which the second counts: dictionaries come together at every depth, else it replaces."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return {**old, **{key: put_together(old.get(key), value) for key, value in new.items()}}
