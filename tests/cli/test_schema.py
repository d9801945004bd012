"""The schema takes every configuration that there is, and refuses typical mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from lit_rl.cli.text import read_yaml
from tests.helpers.cli import CARTPOLE, ROOT, merged
from tests.runs.conftest import Cli

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


@pytest.fixture
def validator(cli: Cli) -> Any:
    cli("schema", "--out", "run.schema.json")
    schema = json.loads(Path("run.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_every_configuration_of_ours(validator: Any) -> None:
    assert len(CONFIGS) > 10
    for file in CONFIGS:
        assert [each.message for each in validator.iter_errors(read_yaml(file))] == [], file.name


@pytest.mark.parametrize(
    "over",
    [
        {"model": "PPO"},
        {"model": {"class_path": "my.module.Mine", "init_args": {"anything": 1}}},
        {"model": {"init_args": {"learning_rate": "lin_3e-4"}}},
        {"model": {"init_args": {"learning_rate": {"start": 1e-3, "shape": "cosine"}}}},
        {"model": {"class_path": "SAC", "init_args": {"n_steps": 1, "batch_size": 8, "n_epochs": None}}},
        {"env": {"kwargs": None, "wrappers": ["a.B", {"class_path": "a.C", "init_args": {"x": 1}}]}},
        {"env": None, "trainer": None},
        {"trainer": {"devices": 2, "strategy": "ddp", "callbacks": ["Timer"], "max_epochs": -1}},
        {"warmstart": {"level": "carry"}},
    ],
)
def test_what_the_checks_take(validator: Any, over: dict[str, Any]) -> None:
    tree = merged(CARTPOLE, over)
    if "n_epochs" in over.get("model", {}).get("init_args", {}) if isinstance(over.get("model"), dict) else False:
        tree["model"]["init_args"] = {"batch_size": 8}
    assert [each.message for each in validator.iter_errors(tree)] == []


@pytest.mark.parametrize(
    ("over", "path"),
    [
        ({"curriculm": {}}, "$"),
        ({"gamma": 0.9}, "$"),
        ({"mode": "fersh"}, "$.mode"),
        ({"total_timesteps": 0}, "$.total_timesteps"),
        ({"seed_everything": True}, "$.seed_everything"),
        ({"env": {"n_env": 8}}, "$.env"),
        ({"env": {"n_envs": "8"}}, "$.env"),
        ({"env": {"backend": "snyc"}}, "$.env"),
        ({"env": {"normalize": {"gamma": 2}}}, "$.env"),
        ({"env": {"wrappers": [{"init_args": {}}]}}, "$.env"),
        ({"curriculum": {"levels": [{"env_kwargs": {}}]}}, "$.curriculum"),
        ({"eval": {"every": 0}}, "$.eval"),
        ({"ranks": {"patience_s": 0}}, "$.ranks"),
        ({"model": "PPA"}, "$.model"),
        ({"model": {"class_path": "PPA"}}, "$.model"),
        ({"model": {"init_args": {"n_step": 8}}}, "$.model"),
        ({"model": {"init_args": {"learning_rate": "lim_1"}}}, "$.model"),
        ({"model": {"init_args": {"gamma": 1.5}}}, "$.model"),
        ({"model": {"init_args": {"buffer_size": 100}}}, "$.model"),
        ({"trainer": {"device": 1}}, "$.trainer"),
        ({"trainer": {"precision": "32-ture"}}, "$.trainer"),
        ({"trainer": {"max_epochs": 3}}, "$.trainer"),
    ],
)
def test_mistakes(validator: Any, over: dict[str, Any], path: str) -> None:
    found = [each.json_path for each in validator.iter_errors(merged(CARTPOLE, over))]
    assert any(each.startswith(path) for each in found), found


def test_every_key_says_what_it_means(validator: Any) -> None:
    def undescribed(schema: Any, key: str) -> list[str]:
        found = []
        for name, each in schema.get("properties", {}).items():
            inner = [each, *each.get("anyOf", [])]
            if not each.get("description"):
                found.append(f"{key}.{name}")
            found += [lack for part in inner for lack in undescribed(part, f"{key}.{name}")]
        return found

    schema = validator.schema
    assert undescribed(schema, "") == []
    for name, model in schema["$defs"].items():
        assert undescribed(model, name) == []


def test_it_is_printed_and_nothing_is_overwritten(cli: Cli) -> None:
    printed = cli("schema").out
    cli("schema", "--out", "s.json")
    assert Path("s.json").read_text() == printed
    Path("s.json").write_text("mine")
    assert "is there already" in cli.error("schema", "--out", "s.json")
    cli("schema", "--out", "s.json", "--overwrite")
    assert Path("s.json").read_text() == printed
