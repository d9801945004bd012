"""Curricula that adapt as part of the run: whatever chooses what is played, a stop changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lit_rl import PPO
from lit_rl.curriculum import Sampler
from lit_rl.curriculum.strategies.build import strategies
from lit_rl.errors import ConfigError
from lit_rl.state.plain import first_difference
from tests.helpers.cli import checkpoints, final_state, kill_at_random, lit_rl, merged, metrics
from tests.helpers.levels import PATH
from tests.runs.conftest import Cli
from tests.runs.test_levels import episodes, same_run

SMALL: dict[str, Any] = {
    "name": "run",
    "seed_everything": 1,
    "total_timesteps": 768,
    "env": {"class_path": f"{PATH}Chance", "n_envs": 4, "backend": "sync"},
    "curriculum": {"n_levels": 4, "attributes": {"hardness": {"ramp": [0, 6], "over": "levels"}}},
    "model": {
        "class_path": "PPO",
        "init_args": {"n_steps": 16, "batch_size": 32, "n_epochs": 1, "policy_kwargs": {"net_arch": [4]}},
    },
}
"""Twelve iterations of 64 timesteps."""


class Hardest(Sampler):
    """One of a user's own: what fails most often."""

    def weights(self) -> list[float]:
        rates = [self.rate(i) for i in range(len(self.names))]
        return [1.0 if rate is None else 1.0 - rate for rate in rates]


TWO_KINDS: dict[str, Any] = {
    "far": {"sample": "learnability", **SMALL["curriculum"]},
    "long": {
        "schedule": {"strategy": "ladder", "start": [0, 1], "down": {"metric": "success_rate", "below": 0.5}},
        "levels": [{"name": "short", "env_kwargs": {"base": 2}}, {"name": "longer", "env_kwargs": {"base": 4}}],
    },
    "listed": {
        "levels": [
            {"name": "a", "set_level": None, "promote": {"any": [{"metric": "timesteps", "threshold": 192},
                                                                   {"metric": "success_rate", "threshold": 1.0}]}},
            {"name": "b"},
        ]
    },
}  # fmt: skip
CASES: dict[str, dict[str, Any]] = {
    "ladder": {"schedule": {"strategy": "ladder", "start": [0, 2]}},
    "uniform": {"sample": "uniform"},
    "weights": {"sample": {"strategy": "weights", "weights": [1, 2, 0, 3]}},
    "learnability": {"sample": {"strategy": "learnability", "window": 10}},
    "progress": {"sample": {"strategy": "progress", "random": 0.1}},
    "replay": {"sample": {"strategy": "replay", "seeds": 5, "alpha": 0.5}},
    "replay of levels": {"sample": {"strategy": "replay", "seeds": None}},
    "own": {"sample": {"class_path": f"{__name__}.Hardest", "init_args": {"window": 8}}},
    "drawn": {
        "visible": True,
        "n_levels": None,
        "env_kwargs": {"base": {"integers": [1, 4]}},
        "attributes": {"hardness": {"ramp": [0, 8], "over": 500}, "wind": {"gaussian": [0, 1]}},
    },
    "bounds": {
        "n_levels": None,
        "adr": {"widen": 0.5, "narrow": 0.2, "queue": 3},
        "attributes": {"hardness": {"adr": {"start": 0, "limits": [0, 6], "step": 0.5}},
                       "wind": {"adr": {"start": [0, 0.5], "limits": [-3, 3], "step": 0.5}}},
    },
    "dimensions": {"n_levels": None, "attributes": {"wind": {"uniform": [-1, 1]}}, "dimensions": TWO_KINDS,
                   "visible": True},
}  # fmt: skip


QUICK = ("ladder", "learnability", "replay", "bounds", "dimensions")


def write(cli: Cli, case: str, **over: Any) -> Path:
    curriculum = {**SMALL["curriculum"], **CASES[case]}
    config = merged({**SMALL, "curriculum": curriculum}, over)
    path = cli.cwd / "run.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def test_every_strategy_is_among_the_cases() -> None:
    named = [each.get("sample", each.get("schedule")) for each in CASES.values()]
    words = {each.get("strategy", "own") if isinstance(each, dict) else each for each in named}
    assert words - {None} == strategies().keys() | {"own"}


@pytest.mark.parametrize(
    "case", [pytest.param(each, marks=[] if each in QUICK else pytest.mark.slow) for each in CASES]
)
def test_stops_change_nothing(cli: Cli, case: str) -> None:
    config = write(cli, case)
    cli("fit", "--config", config, "--name", "straight")
    mode = "fresh"
    for stop in (192, 256, 576):
        cli("fit", "--config", config, "--mode", mode, "--pause_at", stop, expect=75)
        mode = "resume"
    cli("fit", "--config", config, "--mode", "resume")
    same_run(cli.run("straight"), cli.run())
    assert len({(row[2], *row[4:]) for row in episodes(cli.run())}) > 1, (
        "episodes must differ in what they are played on"
    )


@pytest.mark.slow
@pytest.mark.parametrize("case", ["replay", "drawn", "dimensions"])
def test_nothing_depends_on_workers(cli: Cli, case: str) -> None:
    config = write(cli, case)
    cli("fit", "--config", config, "--name", "straight")
    done = lit_rl("fit", "--config", config, "--env.backend", "async", "--env.n_workers", 2, cwd=cli.cwd)
    assert "async" in done.stdout
    same_but_for_the_backend(cli)


def same_but_for_the_backend(cli: Cli) -> None:
    ours, theirs = final_state(cli.run()), final_state(cli.run("straight"))
    assert first_difference(ours["curriculum"], theirs["curriculum"], "curriculum") is None
    assert first_difference(ours["policy"], theirs["policy"], "policy") is None
    assert episodes(cli.run()) == episodes(cli.run("straight"))


@pytest.mark.slow
@pytest.mark.timeout(280)
@pytest.mark.parametrize("case", CASES)
def test_verify_says_exact(cli: Cli, case: str) -> None:
    backend = ("--env.backend", "async", "--env.n_workers", 2)
    done = lit_rl("verify", "--config", write(cli, case), *backend, "--iterations", 8, "--stops", 2, cwd=cli.cwd)
    assert "exact: every part of the state is equal to the bit" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(280)
@pytest.mark.parametrize("case", CASES)
def test_two_ranks_play_what_one_does_and_go_on_exactly(cli: Cli, case: str) -> None:
    two = ("--trainer.devices", 2, "--trainer.accelerator", "cpu")
    bits = ("--model.deterministic_reduction", "true", "--model.reduction_pieces", 2)
    config = write(cli, case, total_timesteps=384)
    cli("fit", "--config", config, "--name", "straight", *bits)
    lit_rl("fit", "--config", config, *bits, *two, "--pause_at", 192, cwd=cli.cwd, expect=75)
    lit_rl("fit", "--config", config, *bits, *two, "--mode", "resume", cwd=cli.cwd)
    same_but_for_the_backend(cli)


@pytest.mark.slow
@pytest.mark.timeout(280)
@pytest.mark.parametrize("case", ["ladder", "replay", "bounds", "dimensions"])
def test_kills_at_random_change_nothing(cli: Cli, case: str) -> None:
    config = write(cli, case, total_timesteps=6400, checkpoint={"every_timesteps": 64, "keep_last": 3})
    cli("fit", "--config", config, "--name", "straight")
    words = ("fit", "--config", config, "--requeue", "true")
    kill_at_random(*words, cwd=cli.cwd, run=cli.run(), seed=case, most=10)
    cli(*words)
    same_run(cli.run(), cli.run("straight"))


# -- what is seen ----------------------------------------------------------------------------------------------------


def test_what_was_drawn_is_in_the_monitor_file(cli: Cli) -> None:
    cli("fit", "--config", write(cli, "drawn"))
    drawn = [dict(pair.split("=") for pair in row[-1].split(";")) for row in episodes(cli.run())]
    assert {row["base"] for row in drawn} == {"1", "2", "3", "4"}
    hardness = [float(row["hardness"]) for row in drawn]
    assert (hardness[0], hardness[-1]) == (0.0, 8.0)
    boundaries = {64 * i / 500 * 8 for i in range(8)} | {8.0}
    assert all(min(abs(value - each) for each in boundaries) < 1e-9 for value in hardness)
    assert abs(np.mean([float(row["wind"]) for row in drawn])) < 0.3
    lengths = [int(row[1]) for row in episodes(cli.run())]
    assert all(int(row["base"]) <= length < int(row["base"]) + 4 for row, length in zip(drawn, lengths, strict=True))


def test_a_policy_sees_its_level_and_what_was_drawn(cli: Cli) -> None:
    """Level of `far`, of `long`, of `listed`, and the wind: four numbers behind the environment's two."""
    cli("fit", "--config", write(cli, "dimensions"))
    moments = final_state(cli.run())["policy"]
    (first,) = [value for name, value in moments.items() if name.endswith("policy_net.0.weight")]
    assert first.shape == (4, 6)


def test_histograms_and_rates_are_logged(cli: Cli) -> None:
    cli("fit", "--config", write(cli, "ladder"))
    last = metrics(cli.run())[-1]
    shares = [float(last[f"curriculum/envs/{i}"]) for i in range(4)]
    assert sum(shares) == 1.0
    assert 0.0 <= float(last["curriculum/ever_top"]) <= 1.0
    cli("fit", "--config", write(cli, "learnability"))
    last = metrics(cli.run(version=1))[-1]
    assert sum(float(last[f"curriculum/probability/{i}"]) for i in range(4)) == pytest.approx(1.0)


def test_evaluations_are_of_all_levels_where_none_is_current(cli: Cli) -> None:
    cli("fit", "--config", write(cli, "learnability", eval={"every": 384, "episodes": 2}))
    stored = np.load(cli.run() / "evaluations.npz")
    assert stored["levels"].tolist() == [[0, 0, 1, 1, 2, 2, 3, 3]] * 2
    assert "eval/level_3/mean_reward" in metrics(cli.run())[-1]


# -- other modes, and files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("within", [False, True], ids=["alone", "in a dimension"])
def test_opening_a_checkpoint_imports_no_strategy(cli: Cli, within: bool) -> None:
    config = yaml.safe_load(write(cli, "own", total_timesteps=64).read_text())
    if within:
        config["curriculum"] = {"dimensions": {"only": config["curriculum"]}}
    (cli.cwd / "run.yaml").write_text(yaml.safe_dump(config))
    cli("fit", "--config", "run.yaml")
    file = str(checkpoints(cli.run())[-1].path / "lightning.ckpt")
    with pytest.raises(ConfigError, match=r"names the class '.*Hardest' in curriculum.sample; pass curriculum"):
        PPO.load_from_checkpoint(file)
    module = PPO.load_from_checkpoint(file, curriculum=config["curriculum"])
    assert "chosen by Hardest" in module.curriculum.describe()
    assert "level: 3" in cli("test", cli.run(), "--episodes", 1).out, "its own YAML names it"


def test_a_warmstart_starts_over_or_carries(cli: Cli) -> None:
    config = write(cli, "learnability")
    cli("fit", "--config", config, "--name", "trained")
    trained = final_state(cli.run("trained"))["curriculum"]
    words = (
        "--config",
        config,
        "--mode",
        "warmstart",
        "--warmstart.checkpoint",
        cli.run("trained"),
        "--total_timesteps",
        64,
    )
    cli("fit", *words, "--name", "anew")
    anew = final_state(cli.run("anew"))["curriculum"]["state"]["levels"]
    assert sum(each["episodes"] for each in anew.values()) < 40
    cli("fit", *words, "--name", "carried", "--warmstart.level", "carry")
    carried = final_state(cli.run("carried"))["curriculum"]["state"]["levels"]
    for name, each in trained["state"]["levels"].items():
        assert carried[name]["episodes"] >= each["episodes"] > 0
    said = cli.error("fit", *words, "--warmstart.level", 2)
    assert said.startswith("warmstart.level: is 2, and levels are chosen by learnability, which begins on none")


def test_a_warmstart_begins_a_ladder_where_it_is_told(cli: Cli) -> None:
    config = write(cli, "ladder", total_timesteps=64)
    cli("fit", "--config", config, "--name", "trained")
    words = ("--config", config, "--mode", "warmstart", "--warmstart.checkpoint", cli.run("trained"))
    cli("fit", *words, "--name", "high", "--warmstart.level", 3)
    begun = [int(row[2]) for row in episodes(cli.run("high"))]
    assert begun[:4] == [3] * 4


def test_a_changed_curriculum_is_told_old_against_new(cli: Cli) -> None:
    config = write(cli, "learnability", total_timesteps=128)
    cli("fit", "--config", config, "--pause_at", 64, expect=75)
    changed = yaml.safe_load(config.read_text())
    changed["curriculum"]["sample"]["window"] = 20
    changed["curriculum"]["attributes"]["hardness"]["ramp"] = [0, 3]
    config.write_text(yaml.safe_dump(changed))
    said = cli("fit", "--config", config, "--mode", "resume", expect=2).err
    for text in ("curriculum.sample.window", "10", "20", "curriculum.attributes.hardness.ramp", "[0, 6]", "[0, 3]"):
        assert text in said
    out = cli("fit", "--config", config, "--mode", "resume", "--resume.on_config_change", "accept").out
    assert "finished" in out


def test_a_lost_life_is_no_new_level(cli: Cli) -> None:
    """Levels by seed: what a lost life resets with is the episode's own seed, whatever would be chosen now."""
    env = {
        "class_path": f"{PATH}Careless",
        "global_streams": "own",
        "wrappers": [{"class_path": f"{PATH}SevenStepLives"}],
    }
    config = write(cli, "replay", env=env)
    cli("fit", "--config", config, "--name", "straight")
    mode = "fresh"
    for stop in (128, 320, 640):
        out = cli("fit", "--config", config, "--mode", mode, "--pause_at", stop, expect=75).out
        assert "could not be brought back" not in out
        mode = "resume"
    cli("fit", "--config", config, "--mode", "resume")
    same_run(cli.run("straight"), cli.run())


@pytest.mark.parametrize("n_envs", [2, 8])
def test_scores_go_on_with_another_number_of_environments(cli: Cli, n_envs: int) -> None:
    config = write(cli, "replay")
    cli("fit", "--config", config, "--pause_at", 320, expect=75)
    more = ("--env.n_envs", n_envs, "--resume.on_config_change", "accept")
    assert "finished" in cli("fit", "--config", config, "--mode", "resume", *more).out
