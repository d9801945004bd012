"""`--help` lists every option with its meaning, and an algorithm's own where one is named."""

from __future__ import annotations

import re
import typing

import pytest
import yaml

from lit_rl.cli.blocks import BLOCKS, SCALARS
from lit_rl.cli.models import models_by_name
from tests.runs.conftest import Cli

OPTION = re.compile(r"^  --([\w.]+) ?(.*)$", re.MULTILINE)


def options(text: str) -> list[str]:
    return [name for name, _ in OPTION.findall(text)]


@pytest.mark.parametrize("name", sorted(models_by_name()))
def test_the_settings_of_the_algorithm_that_is_named(cli: Cli, name: str) -> None:
    listed = options(cli("fit", "--help", "--model", name).out)
    assert [each for each in listed if each.startswith("model.")] == [
        f"model.{each}" for each in models_by_name()[name].parameters
    ]


def test_a_configuration_names_it_as_well(cli: Cli) -> None:
    cli.config({"model": {"class_path": "DQN", "init_args": None}})
    assert "--model.exploration_fraction NUMBER" in cli("fit", "--config", "run.yaml", "--help").out
    out = cli("fit", "--help").out
    assert "one of A2C, ARS, CrossQ, DDPG, DQN, MaskablePPO, PPO," in " ".join(out.split())
    assert "lists an algorithm's settings" in out
    assert "--model.exploration_fraction" not in out


def test_every_key_stands_in_its_group_and_lightnings_last(cli: Cli) -> None:
    text = cli("fit", "--help", "--model", "PPO").out
    listed = options(text)
    groups = [each.partition(".")[0] for each in listed if "." in each]
    assert list(dict.fromkeys(groups)) == [*BLOCKS, "model", "trainer"]
    for block, record in BLOCKS.items():
        for field in typing.get_type_hints(record):
            if not field.isupper():
                assert any(each.startswith(f"{block}.{field}") for each in listed), f"{block}.{field}"
    assert set(SCALARS) <= set(listed)
    assert "trainer.devices" in listed
    assert "trainer.max_epochs" not in listed, "it means nothing here"
    assert listed == list(dict.fromkeys(listed))


def test_types_ranges_defaults_and_meanings(cli: Cli) -> None:
    text = " ".join(cli("fit", "--help", "--model", "PPO").out.split())
    assert text.startswith("usage: lit-rl fit [--config FILE ...]")
    assert "--env.backend auto|sync|async|native `sync` steps them in this process" in text
    assert "--model.gamma NUMBER discount factor; from 0 to 1. (default: 0.99)" in text
    assert "--resume.total_timesteps INT|null a new target, counted from the run's start; at least 1." in text
    assert "--trainer.devices [INT, ...]|TEXT|INT The devices to use." in text
    assert ":class:" not in text


@pytest.mark.parametrize(("columns", "width"), [(40, 80), (80, 80), (100, 100), (300, 120)])
def test_it_fits_the_terminal(cli: Cli, monkeypatch: pytest.MonkeyPatch, columns: int, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = cli("fit", "--help", "--model", "SAC").out.splitlines()
    assert width - 10 < max(map(len, lines)) <= width


def test_an_evaluation_has_its_own_option(cli: Cli) -> None:
    assert "episodes" in options(cli("test", "--help").out)
    assert "episodes" not in options(cli("fit", "--help").out)


def test_an_unknown_algorithm_is_named_with_the_nearest(cli: Cli) -> None:
    assert "Did you mean 'PPO'?" in cli.error("fit", "--help", "--model", "PPA")


def test_settings_are_printed_as_before(cli: Cli) -> None:
    with pytest.raises(SystemExit):
        cli("fit", "--config", cli.config(), "--print_config")
    printed = yaml.safe_load(cli.capture.readouterr().out)
    assert printed["env"]["n_envs"] == 4
    assert printed["model"]["init_args"]["n_steps"] == 32
