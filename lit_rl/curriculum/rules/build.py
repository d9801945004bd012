"""From the mapping in a YAML file to a rule."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from lit_rl.curriculum.construct import classes_in, construct, own_class
from lit_rl.curriculum.rules.combined import COMBINE, CombinedRule
from lit_rl.curriculum.rules.rule import Rule
from lit_rl.errors import ConfigError, did_you_mean


@functools.cache
def metrics() -> dict[str, type[Any]]:
    """The metrics of the short form and the rule that each means, as the classes in this folder's files name them.

    Those of evaluations come last; each rule's own stand as it names them.
    """
    found: dict[str, type[Any]] = {}
    for cls in classes_in(str(__package__), Rule):
        for metric in vars(cls).get("METRICS", ()):
            assert metric not in found, f"{metric} means {found[metric].__name__} and {cls.__name__}"
            found[metric] = cls
    return dict(sorted(found.items(), key=lambda pair: "/" in pair[0]))


def build_rule(spec: Mapping[str, Any], key: str) -> Rule:
    """The rule meant by `spec`: `{metric, threshold, ...}`, `{class_path, init_args}`, `{all: [...]}`, `{any: [...]}`.

    `key` is what error messages call it, such as `curriculum.levels[0].promote`. Raises ConfigError.
    """
    if not isinstance(spec, Mapping):
        raise ConfigError(f"{key}: must be a mapping, is {spec!r}; write {{metric: ..., threshold: ...}}.")
    if any(word in spec for word in COMBINE):
        return _combined(spec, key)
    if "class_path" in spec:
        own: Rule = own_class(spec, Rule, key, "rule")
        return own
    if "metric" not in spec:
        known = ["metric", *COMBINE]
        near = next((did_you_mean(k, known) for k in spec if did_you_mean(k, known)), "")
        raise ConfigError(
            f"{key}.metric: missing; give one of {', '.join(metrics())}, or a class_path, or combine rules by all or "
            f"any.{near}"
        )
    metric = spec["metric"]
    if metric not in list(metrics()):
        raise ConfigError(
            f"{key}.metric: unknown {metric!r}; known are {', '.join(metrics())}.{did_you_mean(metric, metrics())}"
        )
    options = dict(spec)
    if "metric" not in inspect.signature(metrics()[metric]).parameters:
        del options["metric"]
    rule: Rule = construct(metrics()[metric], options, key, f" of a rule on {metric}")
    return rule


def _combined(spec: Mapping[str, Any], key: str) -> Rule:
    word = next(word for word in COMBINE if word in spec)
    extra = [name for name in spec if name != word]
    if extra:
        raise ConfigError(f"{key}.{extra[0]}: not known beside {word}; give it to a rule of the list.")
    rules = spec[word]
    if isinstance(rules, str) or not isinstance(rules, Sequence):
        raise ConfigError(f"{key}.{word}: must be a list of rules, is {rules!r}; write [{{metric: ...}}, ...].")
    if not rules:
        raise ConfigError(f"{key}.{word}: empty; give at least one rule.")
    return CombinedRule(word, [build_rule(each, f"{key}.{word}[{i}]") for i, each in enumerate(rules)])


def parts_of_rule(spec: Any) -> list[Mapping[str, Any]]:
    """The rules that `spec` is made of, without `all` and `any`: itself, where it combines none; none for no rule.

    It takes whatever stands in a file, right or wrong: what is no mapping has no parts.
    """
    if not isinstance(spec, Mapping):
        return []
    lists = [spec[word] for word in COMBINE if word in spec]
    if not lists:
        return [spec]
    return [part for each in lists if isinstance(each, list | tuple) for one in each for part in parts_of_rule(one)]
