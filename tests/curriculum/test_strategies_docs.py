"""docs/curriculum_strategies.md says what there is: its code runs, its options and defaults are those of the code."""

import inspect
import re
import sys
import textwrap
import types

import pytest
import yaml

from lit_rl.curriculum.rules import build_rule
from lit_rl.curriculum.strategies.build import build_strategy, strategies
from lit_rl.curriculum.strategies.ladder import DOWN, UP
from tests.helpers.cli import ROOT
from tests.helpers.pages import block, blocks, run_block

PAGE = "docs/curriculum_strategies.md"
TEXT = (ROOT / PAGE).read_text()


def options(section):
    """The rows of a section's table of options: a default for each name."""
    text = TEXT.split(f"\n## {section}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| ([^|]+) \|", text, re.MULTILINE)
    found = {}
    for names, defaults in rows:
        names = re.findall(r"`(\w+)`", names)
        found |= dict(zip(names, defaults.split(", ") if len(names) > 1 else [defaults], strict=True))
    return {name: default.strip("`") for name, default in found.items()}


@pytest.mark.parametrize("name", [name for name in strategies() if name not in ("uniform", "ladder")])
def test_options_and_defaults(name):
    parameters = inspect.signature(strategies()[name]).parameters
    written = options(name)
    assert set(written) == set(parameters)
    for key, parameter in parameters.items():
        if parameter.default is parameter.empty:
            assert written[key] == "required"
        else:
            assert yaml.safe_load(written[key]) == parameter.default, key


def test_the_ladder_that_is_written_is_the_default():
    assert set(options("ladder")) == set(inspect.signature(strategies()["ladder"]).parameters)
    spec = yaml.safe_load(block(PAGE, "yaml", 3))["curriculum"]["schedule"]
    assert (spec["up"], spec["down"]) == (UP, DOWN)


def test_every_block_is_built():
    built = 0
    for text in blocks(PAGE, "yaml"):
        given = yaml.safe_load(textwrap.dedent(text))
        given = given.get("curriculum", given)
        for key in ("sample", "schedule"):
            if key in given and "my_samplers" not in text:
                names = [level["name"] for level in given["levels"]]
                build_strategy(given[key], f"curriculum.{key}").begin(names, 4, 0)
                built += 1
        if "promote" in given:
            assert len(build_rule(given["promote"], "promote").leaves()) == 3
            built += 1
    assert built == 5


def test_the_sampler_runs(monkeypatch):
    module = types.ModuleType("my_samplers")
    vars(module).update(run_block(block(PAGE, "python")))
    monkeypatch.setitem(sys.modules, "my_samplers", module)
    spec = yaml.safe_load(textwrap.dedent(block(PAGE, "yaml", 6)))["sample"]
    sampler = build_strategy(spec, "curriculum.sample")
    sampler.begin(("a", "b"), 2, 0)
    assert (sampler.window, sampler.uniform, sampler.probabilities()) == (100, 0.1, [0.5, 0.5])


def test_every_strategy_has_a_section():
    for name in strategies():
        assert f"\n## {name}\n" in TEXT
        assert f"](#{name})" in TEXT
