"""A run's settings, from its ``config.yaml``, as one flat table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from lit_rl.errors import DataError
from lit_rl.run.directory import CONFIG

_MOST_BYTES = 1 << 20
_MOST = 2000
_DEEPEST = 12
"""A file that is larger, longer or deeper than this describes no run."""
_DATE = "tag:yaml.org,2002:timestamp"


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML's quick safe one; a date is text, as in every configuration file here."""

    yaml_implicit_resolvers = {  # noqa: RUF012  what PyYAML calls it
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _DATE]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def read_settings(directory: Path) -> dict[str, Any]:
    """The configuration that a run keeps, as nested dictionaries; empty where it keeps none (a run from Python).

    Raises:
        DataError: the file cannot be read or is none.
    """
    file = directory / CONFIG
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise DataError(f"{file} has more than {_MOST_BYTES:,} bytes: damaged.")
        settings = yaml.load(file.read_text(), _Loader)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}.") from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise DataError(f"{file} is damaged: {' '.join(str(error).split())[:120]}.") from None
    if not isinstance(settings, dict):
        raise DataError(f"{file} is damaged: it holds no keys and values.")
    return settings


def flattened(settings: dict[str, Any]) -> dict[str, str]:
    """Settings by dotted keys, values as JSON: `env.n_envs` is `8`, `curriculum.levels[0].name` is `"near"`."""
    found: dict[str, str] = {}
    for key, value in _leaves(settings, "", 0):
        found[key] = value
        if len(found) >= _MOST:
            break
    return found


def _leaves(value: Any, key: str, depth: int) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value and depth < _DEEPEST:
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}" if key else str(name), depth + 1)
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value) and depth < _DEEPEST:
        for i, inner in enumerate(value):
            yield from _leaves(inner, f"{key}[{i}]", depth + 1)
    elif isinstance(value, dict | list) and depth >= _DEEPEST:
        yield key, "..."
    else:
        yield key, json.dumps(value, default=str, ensure_ascii=False)


def value_at(settings: dict[str, Any], *path: str) -> Any:
    """A value by its keys; `None` where there is none."""
    value: Any = settings
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value
