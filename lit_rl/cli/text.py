"""Configuration files and the values of options as plain values, read as the parser reads them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from lit_rl.errors import ConfigError, did_you_mean

_FLOAT = re.compile(
    r"[-+]?[0-9][0-9_]*\.[0-9_]*([eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+|[-+]?\.[0-9_]+([eE][-+]?[0-9]+)?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
"""Numbers with a point, an exponent or both (`3e-4` is none in YAML 1.1), infinity and NaN."""
_FIRST = list("-+0123456789.")
_OTHERS = ("tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp")


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping."""


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads back as it was."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _each in (_Loader, _Dumper):
    _each.yaml_implicit_resolvers = {
        first: [(tag, regexp) for tag, regexp in resolvers if tag not in _OTHERS]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    _each.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(f"({_FLOAT.pattern})$"), _FIRST)


def _mapping(loader: _Loader, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    seen: dict[Any, int] = {}
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        line = key_node.start_mark.line + 1
        if not isinstance(key, str | int | float | bool | None):
            raise ConfigError(f"the key in line {line} is no text.")
        if key in seen:
            raise ConfigError(f"key '{key}' stands twice, in lines {seen[key]} and {line}; keep one.")
        seen[key] = line
    loader.flatten_mapping(node)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: Path) -> dict[str, Any]:
    """A configuration file as nested dictionaries.

    Raises:
        ConfigError: it is not there, is not YAML, or has a key twice.
    """
    try:
        content = yaml.load(path.read_text(), _Loader)
    except FileNotFoundError:
        near = did_you_mean(path.name, [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else [])
        raise ConfigError(f"--config: '{path}' is not there.{near}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config: cannot read '{path}': {error}.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"{path} is not valid YAML{where}: {problem}.") from None
    except (ConfigError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path} is nested too deeply, or holds itself.") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold keys and values, such as `env: {{id: CartPole-v1}}`.")
    return content


def read_value(text: str, option: str) -> Any:
    """The value of an option.

    Raises:
        ConfigError: it is not YAML; names the option.
    """
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ConfigError, ValueError, RecursionError) as error:
        if text[:1] in "{[":
            problem = getattr(error, "problem", None) or str(error)
            raise ConfigError(f"--{option}: cannot read {text[:60]!r}: {problem}.") from None
        return text  # such as `a: b: c`, which is text where text is wanted


def write_value(value: Any) -> str:
    """A value in one line, which `read_value` reads back."""
    text: str = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, width=10**9, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def rewritten(text: str) -> str:
    """What PyYAML has written, so that `read_yaml` reads it back as it was: the text 1e3 stays one."""
    found: str = yaml.dump(yaml.safe_load(text), Dumper=_Dumper, sort_keys=False)
    return found
