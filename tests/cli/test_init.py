"""`init` writes a configuration that runs as it stands, and every key of which can be given."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from lit_rl.cli.blocks import BLOCKS, SCALARS
from lit_rl.cli.models import models_by_name
from lit_rl.cli.schema import schema
from lit_rl.cli.text import read_yaml
from lit_rl.interop import recipes
from lit_rl.interop.run_yaml import draft_run
from lit_rl.interop.zoo import load_yaml, read_zoo
from tests.runs.conftest import Cli

KEY = re.compile(r"^( *)#(?=\w+:)", re.MULTILINE)
REACH = "lit_rl.envs.examples.reach:Reach"


def written(cli: Cli, *argv: str) -> dict[str, Any]:
    cli("init", *argv, "--out", "new.yaml", "--overwrite")
    tree = read_yaml(Path("new.yaml"))
    assert [each.message for each in jsonschema.Draft202012Validator(schema()).iter_errors(tree)] == []
    return tree


def test_the_zoos_settings_of_a_known_environment(cli: Cli) -> None:
    tree = written(cli, "CartPole-v1")
    assert tree["env"] == {"id": "CartPole-v1", "n_envs": 8}
    assert tree["total_timesteps"] == 100_000
    own = tree["model"]["init_args"]
    assert tree["model"]["class_path"] == "PPO"
    assert (own["n_steps"], own["gae_lambda"], own["learning_rate"]) == (32, 0.8, "lin_0.001")
    assert written(cli, "CartPole-v1", "--algorithm", "DQN")["model"]["init_args"]["train_freq"] == 256


def test_another_version_and_atari(cli: Cli) -> None:
    ant = written(cli, "Ant-v5", "--algorithm", "PPO")
    assert ant["env"] == {"id": "Ant-v5", "n_envs": 1, "normalize": {"obs": True, "reward": True}}
    assert "RL Zoo for Ant-v4" in Path("new.yaml").read_text()
    pong = written(cli, "ALE/Pong-v5")
    assert (pong["env"]["atari"], pong["env"]["frame_stack"], pong["name"]) == (True, 4, "pong_ppo")


@pytest.mark.parametrize(
    ("env", "algorithm", "policy"),
    [
        ("FrozenLake-v1", "PPO", "MlpPolicy"),
        ("tests.helpers.envs:Image", "PPO", "CnnPolicy"),
        (REACH, "SAC", "MultiInputPolicy"),
        ("InvertedPendulum-v5", "SAC", "MlpPolicy"),
    ],
)
def test_what_suits_the_spaces_of_an_unknown_one(cli: Cli, env: str, algorithm: str, policy: str) -> None:
    tree = written(cli, env)
    assert (tree["model"]["class_path"], tree["model"]["init_args"]["policy"]) == (algorithm, policy)
    assert tree["env"].get("class_path" if ":" in env else "id") == env
    assert "nobody tuned them" in " ".join(Path("new.yaml").read_text().replace("# ", "").split())
    if env == REACH:
        assert tree["model"]["init_args"]["her"] is True


@pytest.mark.parametrize("name", sorted(models_by_name()))
def test_every_key_stands_there_and_holds_when_it_is_given(cli: Cli, name: str) -> None:
    env = "CartPole-v1" if name in ("PPO", "A2C", "DQN", "QRDQN", "MaskablePPO", "RecurrentPPO") else "Pendulum-v1"
    given = written(cli, env, "--algorithm", name)
    text = Path("new.yaml").read_text()
    assert "  class_path: " in text
    Path("all.yaml").write_text(KEY.sub(r"\1", text))
    tree = read_yaml(Path("all.yaml"))
    assert set(tree) == {*SCALARS, *BLOCKS, "model", "trainer"}
    assert set(tree["model"]["init_args"]) == set(models_by_name()[name].parameters)
    assert [each.message for each in jsonschema.Draft202012Validator(schema()).iter_errors(tree)] == []
    assert tree["env"]["n_envs"] == given["env"]["n_envs"], "what was given stays"
    assert text.count("\n") < 400
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("argv", [("CartPole-v1",), ("FrozenLake-v1", "--algorithm", "A2C"), (REACH,)])
def test_it_runs_as_it_stands(cli: Cli, argv: tuple[str, ...]) -> None:
    written(cli, *argv)
    cli("fit", "--config", "new.yaml", "--pause_at", 1, "--model.cycles_per_iteration", 1, expect=75)


@pytest.mark.slow
def test_blocks_of_the_zoo_are_all_translated() -> None:
    """What is left out of any block is a wrapper of the Zoo's own."""
    left: set[str] = set()
    for file in sorted(recipes._BLOCKS.glob("*.yml")):
        for name in load_yaml(file):
            drafted = draft_run(zoo=read_zoo(file, name, file.stem), env_id=name)
            left |= {f"{file.stem} {name} {each.key}" for each in drafted.not_carried}
            errors = jsonschema.Draft202012Validator(schema()).iter_errors(drafted.config)
            assert [each.message for each in errors] == [], (file.stem, name)
    frames = {f"{name} atari optimize_memory_usage" for name in ("dqn", "qrdqn")}
    assert left == {"ppo CarRacing-v3 env_wrapper", "ppo_lstm CarRacing-v3 env_wrapper", *frames}


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (("CartPol-v1",), "Did you mean 'CartPole-v1'?"),
        (
            ("CartPole-v1", "--algorithm", "PPA"),
            "there is no algorithm 'PPA'; there are A2C, ARS, CrossQ, DDPG, DQN, MaskablePPO, PPO, QRDQN, ",
        ),
        (("CartPole-v1", "--algorithm", "SAC"), "SAC is for Box actions"),
        (("HalfCheetah-v3",), "It is HalfCheetah-v5 today"),
        (("lit_rl.envs.examples.reach:Raech",), "Did you mean 'Reach'?"),
        (("no_such_module:Env",), "cannot import no_such_module"),
    ],
)
def test_mistakes(cli: Cli, argv: tuple[str, ...], text: str) -> None:
    assert text in cli.error("init", *argv, "--out", "x.yaml")


def test_without_out_it_is_printed_and_nothing_is_overwritten(cli: Cli) -> None:
    printed = cli("init", "Acrobot-v1").out
    assert "id: Acrobot-v1" in printed
    Path("mine.yaml").write_text("mine")
    assert "is there already" in cli.error("init", "Acrobot-v1", "--out", "mine.yaml")
    assert Path("mine.yaml").read_text() == "mine"


def test_an_environment_with_masks_gets_them(cli: Cli) -> None:
    assert written(cli, "lit_rl.envs.examples.tour:Tour")["model"]["class_path"] == "MaskablePPO"
