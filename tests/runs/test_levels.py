"""A curriculum as part of the run: when levels change, what every mode does with them, what is said of it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lit_rl import PPO
from lit_rl.checkpoint.store import CheckpointStore
from lit_rl.curriculum import Rule
from lit_rl.errors import ConfigError
from lit_rl.state.plain import first_difference
from tests.helpers.cli import ROOT, checkpoints, final_state, lineage, lit_rl, merged, metrics
from tests.helpers.levels import PATH
from tests.runs.conftest import Cli

UP_AND_DOWN = ROOT / "tests" / "data" / "up_and_down.yaml"
CHANGES = [(256, 0, 1), (1280, 1, 0), (2304, 0, 1)]
"""Where that run's level changes: timestep, old level, new level."""

SMALL: dict[str, Any] = {
    "name": "run",
    "seed_everything": 1,
    "total_timesteps": 256,
    "env": {"class_path": f"{PATH}Limited", "n_envs": 4, "backend": "sync"},
    "curriculum": {
        "levels": [
            {
                "name": "short",
                "env_kwargs": {"limit": 3},
                "promote": {"metric": "timesteps", "threshold": 64},
            },
            {
                "name": "middle",
                "env_kwargs": {"limit": 5},
                "promote": {"metric": "ep_rew_mean", "threshold": 5, "window": 10},
            },
            {"name": "long", "env_kwargs": {"limit": 7}},
        ]
    },
    "model": {
        "class_path": "PPO",
        "init_args": {"n_steps": 8, "batch_size": 32, "n_epochs": 1, "policy_kwargs": {"net_arch": [4]}},
    },
}
"""Eight iterations of 32 timesteps; level 1 from 64, level 2 from 128."""


def write(cli: Cli, over: dict[str, Any] | None = None, **level: Any) -> Path:
    """SMALL, changed as asked; `level` changes the level named "middle"."""
    config = merged(SMALL, over or {})
    config["curriculum"] = {
        "levels": [{**each, **(level if each["name"] == "middle" else {})} for each in config["curriculum"]["levels"]]
    }
    path = cli.cwd / "run.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def levels(run: Path) -> list[int]:
    """The level after every iteration."""
    return [int(float(row["curriculum/level"])) for row in metrics(run)]


def episodes(run: Path) -> list[list[str]]:
    """monitor.csv without its times."""
    with open(run / "monitor.csv", newline="") as file:
        next(file)
        return [[value for key, value in row.items() if key != "t"] for row in csv.DictReader(file)]


def same_run(a: Path, b: Path) -> None:
    ours, theirs = final_state(a), final_state(b)
    for name in ours:
        assert first_difference(ours[name], theirs[name], name) is None
    assert metrics(a) == metrics(b)
    assert episodes(a) == episodes(b)


def test_the_page_runs_as_it_stands(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "curriculum.md").read_text()
    env, config = (page.split(f"```{language}\n")[1].split("```")[0] for language in ("python", "yaml"))
    (cli.cwd / "my_env.py").write_text(env)
    (cli.cwd / "run.yaml").write_text(config)
    monkeypatch.syspath_prepend(cli.cwd)
    out = cli("fit", "--config", "run.yaml").out
    for text in (
        "level: 0 of 0 to 2, 'near'",
        "level 0 'near' -> 1 'middle'",
        "level 1 'middle' -> 2 'far'",
        "finished:",
    ):
        assert text in page
        assert text in out


# -- exactness -------------------------------------------------------------------------------------------------------


def test_stops_around_every_change_change_nothing(cli: Cli) -> None:
    words = ("--config", UP_AND_DOWN, "--total_timesteps", 2816)
    straight = cli("fit", *words, "--name", "straight").out
    told = [line for line in straight.splitlines() if line.startswith("curriculum: ")]
    assert [line.split(" (")[0] for line in told] == [
        f"curriculum: level {old} '{('near', 'far')[old]}' -> {new} '{('near', 'far')[new]}' at timestep {at:,}"
        for at, old, new in CHANGES
    ]
    mode, said = "fresh", []
    for stop in (256, 1024, 1280, 1536, 2048):  # at a promotion; before, at and after a demotion; before a promotion
        said.append(cli("fit", *words, "--name", "stopped", "--mode", mode, "--pause_at", stop, expect=75).out)
        mode = "resume"
    said.append(cli("fit", *words, "--name", "stopped", "--mode", "resume").out)
    assert [line for out in said for line in out.splitlines() if line.startswith("curriculum: ")] == told
    assert "level: 1 of 0 to 2, 'far'" in said[1], "the banner"
    same_run(cli.run("straight"), cli.run("stopped"))
    a, b = (np.load(cli.run(name) / "evaluations.npz") for name in ("straight", "stopped"))
    assert all(np.array_equal(a[key], b[key]) for key in a.files)
    assert len(b["timesteps"]) == 4


@pytest.mark.slow
@pytest.mark.timeout(280)
@pytest.mark.parametrize("backend", ["sync", "async"])
def test_verify_passes_around_changes(tmp_path: Path, backend: str) -> None:
    stops = "1280,2048" if backend == "sync" else "1280"  # and at 256, where the first promotion is
    words = ("--config", UP_AND_DOWN, "--env.backend", backend, "--env.n_workers", 2)
    done = lit_rl("verify", *words, "--iterations", 10, "--stop_at", stops, "--keep", "kept", cwd=tmp_path)
    assert "exact: every part of the state is equal to the bit" in done.stdout
    assert levels(tmp_path / "kept" / "straight" / "verify" / "version_0") == [1, 1, 1, 1, 0, 0, 0, 0, 1, 1]
    for part in ("curriculum", "evaluation", "monitor.csv", "evaluations.npz"):
        assert f"  {part}" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_verify_passes_on_a_standard_environment_with_keyword_levels(tmp_path: Path) -> None:
    pytest.importorskip("Box2D")
    config = yaml.safe_load((ROOT / "configs" / "lunarlander_levels.yaml").read_text())
    for level in config["curriculum"]["levels"]:
        rule = {"metric": "timesteps", "threshold": 100_000 if level["name"] == "breeze" else 1024}
        level["promote"] = rule if "promote" in level else None
        level["demote"] = {"metric": "ep_rew_mean", "below": 0, "window": 3} if "demote" in level else None
    config["env"]["backend"] = "sync"
    config["eval"] = {"every": 1024, "episodes": 1, "level": "last"}
    config["model"]["init_args"] |= {"n_steps": 32, "n_epochs": 1}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    stops = ("--stop_at", "1536,2048,4608", "--iterations", 10, "--keep", "kept")
    done = lit_rl("verify", "--config", "run.yaml", *stops, cwd=tmp_path)
    assert "exact: every part of the state is equal to the bit" in done.stdout
    assert levels(tmp_path / "kept" / "straight" / "verify" / "version_0") == [0, 1, 1, 2, 2, 2, 2, 1, 1, 2]


def test_verify_refuses_stops_outside_the_run(tmp_path: Path, cli: Cli) -> None:
    config = write(cli)
    assert "--stop_at is '3x'" in cli.error("verify", "--config", config, "--stop_at", "3x")
    done = lit_rl("verify", "--config", config, "--stop_at", "32,500", cwd=tmp_path, expect=2)  # it forks
    assert "--stop_at goes from 32 to 500" in done.stderr


# -- options: changing one changes a number --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("middle", "expected"),
    [
        ({}, [0, 1, 1, 1, 2, 2, 2, 2]),  # level 1's episodes end at steps 23, 28, 33, 38 of each environment
        ({"env_kwargs": {"limit": 4}}, [0, 1, 1, 1, 1, 1, 1, 1]),
        ({"promote": {"metric": "ep_rew_mean", "threshold": 5, "window": 30}}, [0, 1, 1, 1, 1, 1, 1, 2]),
        ({"promote": {"metric": "timesteps", "threshold": 32}}, [0, 1, 2, 2, 2, 2, 2, 2]),
        ({"demote": {"metric": "ep_len_mean", "threshold": 5, "window": 1}, "env_kwargs": {"limit": 5},
          "promote": {"metric": "ep_rew_mean", "threshold": 6}}, [0, 1, 0, 0, 1, 0, 0, 1]),
        ({"promote": {"class_path": f"{__name__}.AfterEpisodes", "init_args": {"n": 20}}}, [0, 1, 1, 1, 1, 2, 2, 2]),
    ],
)  # fmt: skip
def test_levels_of_a_run(cli: Cli, middle: dict[str, Any], expected: list[int]) -> None:
    cli("fit", "--config", write(cli, None, **middle))
    assert levels(cli.run()) == expected


class AfterEpisodes(Rule):
    """Due after `n` episodes."""

    def __init__(self, n: int) -> None:
        self.n = n

    def record(self, outcome: Any) -> None:
        self.count += 1

    def due(self, timesteps_at_level: int) -> bool:
        return self.count >= self.n

    def reset(self) -> None:
        self.count = 0

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state: Any) -> None:
        self.count = state["count"]


def test_a_mix_keeps_environments_back(cli: Cli) -> None:
    config = write(cli)
    text = config.read_text()
    cli("fit", "--config", config)
    config.write_text(text.replace("- name: long\n", "- name: long\n    mix: {share: 0.25, spread: previous}\n"))
    cli("fit", "--config", config)
    played = [{row[2] for row in episodes(cli.run(version=i))[-12:]} for i in (0, 1)]
    assert played == [{"2"}, {"1", "2"}]


def test_rules_may_wait_for_evaluations(cli: Cli) -> None:
    rule = {"metric": "eval/mean_reward", "threshold": 5}
    config = write(cli, None, promote=rule)
    assert "a rule waits for evaluations" in cli.error("fit", "--config", config)
    for every, expected in ((32, [0, 1, 2, 2]), (96, [0, 1, 2, 2]), (128, [0, 1, 1, 2])):
        cli("fit", "--config", config, "--eval.every", every, "--total_timesteps", 128, "--name", f"e{every}")
        assert levels(cli.run(f"e{every}")) == expected
    cli("fit", "--config", config, "--eval.every", 128, "--eval.level", "all", "--total_timesteps", 128)
    assert levels(cli.run()) == [0, 1, 1, 2], "of all levels, the rule is given the current one"
    row = metrics(cli.run())[-1]
    assert [float(row[f"eval/level_{name}/mean_reward"]) for name in ("short", "middle", "long")] == [3, 5, 7]
    assert float(row["eval/mean_reward"]) == 5


# -- modes -----------------------------------------------------------------------------------------------------------


def test_a_changed_list_of_levels_is_told_and_has_to_be_accepted(cli: Cli) -> None:
    cli("fit", "--config", write(cli), "--pause_at", 96, expect=75)
    config = write(cli, None, promote={"metric": "ep_rew_mean", "threshold": 4, "window": 10})
    done = cli("fit", "--config", config, "--mode", "resume", expect=2)
    assert "resume.on_config_change: accept" in done.err
    assert "curriculum.levels.middle.promote.threshold  5    4" in done.err
    accept = ("--mode", "resume", "--resume.on_config_change", "accept")
    cli("fit", "--config", config, *accept)
    assert lineage(cli.run())["segments"][1]["config_changes"] == ["curriculum.levels.middle.promote.threshold: 5 -> 4"]
    assert levels(cli.run()) == [0, 1, 1, 1, 2, 2, 2, 2], "the changed rule counts anew"
    gone = write(cli)
    gone.write_text(gone.read_text().replace("name: long", "name: longest"))
    done = cli("fit", "--config", gone, *accept, "--resume.additional_timesteps", 32, expect=2)
    assert "the checkpoint is at level 'long', which this list lacks" in done.err
    assert "nothing to do" in cli("fit", "--config", config, *accept).out


def test_warmstart_begins_on_level_0_or_where_it_is_told(cli: Cli) -> None:
    config = write(cli)
    cli("fit", "--config", config, "--pause_at", 96, "--name", "parent", expect=75)
    parent = ("--mode", "warmstart", "--warmstart.checkpoint", cli.run("parent"), "--total_timesteps", 32)
    for version, (level, expected) in enumerate((("0", 0), ("2", 2), ("carry", 1))):
        out = cli("fit", "--config", config, *parent, "--warmstart.level", level).out
        assert f"level: {expected} of 0 to 2" in out
        assert levels(cli.run(version=version)) == [expected]
        history = checkpoints(cli.run(version=version))
        assert len(history) == 1
    assert "levels go from 0 to 2" in cli("fit", "--config", config, *parent, "--warmstart.level", 3, expect=2).err
    done = cli("fit", "--config", config, *parent, "--warmstart.level", "carri", expect=2)
    assert "warmstart.level" in done.err
    plain = cli.config({"total_timesteps": 128}, "plain.yaml")
    cli("fit", "--config", plain, "--name", "plain")
    source = ("--mode", "warmstart", "--warmstart.checkpoint", cli.run("plain"), "--warmstart.level", "carry")
    assert "this run has no curriculum" in cli("fit", "--config", plain, *source, expect=2).err


def test_show_and_test_tell_the_level(cli: Cli) -> None:
    config = write(cli)
    cli("fit", "--config", config, "--pause_at", 96, expect=75)
    shown = cli("show", cli.run()).out
    assert "level: 1 of 0 to 2, 'middle', 4 episodes and 32 timesteps" in shown
    tested = cli("test", "--config", config, "--ckpt_path", cli.run(), "--episodes", 2).out
    assert "level: 1 of 0 to 2, 'middle'" in tested
    assert "return: mean 5," in tested


def test_the_best_checkpoint_of_a_later_level_is_better(cli: Cli) -> None:
    rewards = {"env": {"wrappers": [{"class_path": f"{PATH}Cut", "init_args": {"after": 99}}]}}
    config = write(cli, rewards)
    text = config.read_text().replace("limit: 7", "limit: 2").replace("threshold: 64", "threshold: 128")
    config.write_text(text)
    every = ("--checkpoint.every_timesteps", 32, "--checkpoint.keep_last", 20, "--total_timesteps", 384)
    cli("fit", "--config", config, *every)
    best = CheckpointStore(cli.run() / "checkpoints").inventory().best()
    assert best is not None
    assert (best.manifest.score_level, best.manifest.score) == (2, 2.0)
    assert any(c.manifest.score == 3.0 for c in checkpoints(cli.run()))


# -- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("promote:", "promot:", r"unknown key 'curriculum.levels[0].promot'. Did you mean 'promote'?"),
        ("curriculum:", "curriculm:", r"unknown key 'curriculm'. Did you mean 'curriculum'?"),
        ("levels:", "level:", r"unknown key 'curriculum.level'. Did you mean 'levels'?"),
        ("threshold: 64", "treshold: 64", r"curriculum.levels[0].promote.treshold: not an option"),
        ("metric: timesteps", "metric: timestep", r"curriculum.levels[0].promote.metric: unknown 'timestep'"),
        ("name: middle", "name: short", r"curriculum.levels[1].name: 'short' is level 0's name too"),
        ("limit: 5", "limt: 5", r"curriculum.levels[1] 'middle': env.kwargs"),
    ],
)
def test_mistakes_name_the_key(cli: Cli, old: str, new: str, message: str) -> None:
    config = write(cli)
    config.write_text(config.read_text().replace(old, new, 1))
    assert message in cli.error("fit", "--config", config)


def test_quoted_numbers_stay_words(cli: Cli) -> None:
    config = write(cli, {"env": {"kwargs": {"limit": 3}}}, attributes={"label": "3"}, env_kwargs={})
    text = config.read_text()
    assert "label: '3'" in text
    labelled = text.replace(
        "- name: short\n", "- name: short\n    attributes: {label: '2'}\n"
    ).replace("- name: long\n", "- name: long\n    attributes: {label: '4'}\n")  # fmt: skip
    config.write_text(labelled.replace("Limited", "Labelled"))
    cli("fit", "--config", config, "--total_timesteps", 32)
    saved = yaml.safe_load((cli.run() / "config.yaml").read_text())
    assert [level["attributes"]["label"] for level in saved["curriculum"]["levels"]] == ["2", "3", "4"]


def test_keyword_arguments_keep_quoted_numbers(cli: Cli) -> None:
    over = {
        "env": {
            "kwargs": {"label": "3"},
            "class_path": f"{PATH}Labelled",
            "wrappers": [{"class_path": f"{PATH}Named", "init_args": {"name": "4"}}],
        },
        "model": {"init_args": {"policy_kwargs": {"activation_fn": "Tanh", "net_arch": [4]}}},
    }
    cli("fit", "--config", write(cli, over), "--total_timesteps", 32)
    env = yaml.safe_load((cli.run() / "config.yaml").read_text())["env"]
    assert (env["kwargs"]["label"], env["wrappers"][0]["init_args"]["name"]) == ("3", "4")


def test_from_python_the_same_and_opening_a_checkpoint_imports_no_rule(cli: Cli) -> None:
    own = {"class_path": f"{__name__}.AfterEpisodes", "init_args": {"n": 1}}
    cli("fit", "--config", write(cli, None, promote=own), "--total_timesteps", 32)
    path = checkpoints(cli.run())[-1].path
    with pytest.raises(ConfigError, match=r"names the rule '.*AfterEpisodes' of level 'middle'; pass curriculum"):
        PPO.load_from_checkpoint(path)
    module = PPO.load_from_checkpoint(path, curriculum={"levels": [{"name": "short"}]})
    assert module.curriculum.current == 0
