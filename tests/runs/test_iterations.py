"""Cycles in an iteration: what is learned does not depend on their number, and what steers the run is not late."""

from __future__ import annotations

from typing import Any

import pytest

from lit_rl import A2C
from lit_rl.state.plain import first_difference, to_plain
from tests.helpers import envs
from tests.helpers.cli import checkpoints, final_state, metrics
from tests.helpers.on_policy import make
from tests.runs.conftest import Cli

GATES = {
    "env": {"id": None, "class_path": "lit_rl.envs.examples.gates.Gates", "n_envs": 2},
    "curriculum": {
        "levels": [
            {"name": "near", "env_kwargs": {"level": 0}, "promote": {"metric": "timesteps", "threshold": 40}},
            {
                "name": "wide",
                "env_kwargs": {"level": 1},
                "mix": {"share": 0.5},
                "promote": {"metric": "eval/mean_reward", "threshold": -1e9, "patience": 2},
                "demote": {"metric": "success_rate", "threshold": 0.0, "window": 1000},
            },
            {"name": "gate", "env_kwargs": {"level": 2}},
        ]
    },
}


def config_of(cli: Cli, **over: Any) -> Any:
    import yaml

    path = cli.config({**over, "total_timesteps": 480, "checkpoint": {"every_timesteps": 1, "keep_last": 100}})
    config = yaml.safe_load(path.read_text())
    config["model"] = {"class_path": "A2C", "init_args": {"n_steps": 5, "policy_kwargs": {"net_arch": [8]}}}
    path.write_text(yaml.safe_dump(config))
    return path


def by_timestep(cli: Cli, name: str) -> dict[int, Any]:
    from lit_rl.checkpoint.reader import load_lightning, load_rank
    from lit_rl.state.parts import by_part

    return {
        checkpoint.manifest.timesteps: by_part(load_lightning(checkpoint), [load_rank(checkpoint, 0)])
        for checkpoint in checkpoints(cli.run(name))
    }


@pytest.mark.parametrize("block", ["moments", "levels"])
def test_the_state_at_a_timestep_is_the_same_whatever_the_length_of_an_iteration(cli: Cli, block: str) -> None:
    over = {"env": {"n_envs": 4, "normalize": {"obs": True, "reward": True}}} if block == "moments" else GATES
    config = config_of(cli, **over, eval={"every": 130, "episodes": 2})
    lengths = {"one": 1, "three": 3, "many": 1000}
    for name, cycles in lengths.items():
        cli("fit", "--config", config, "--name", name, "--model.cycles_per_iteration", cycles)
    one, three, many = (by_timestep(cli, name) for name in lengths)
    assert many.keys() < three.keys() < one.keys()
    for longer in (three, many):
        for timesteps, state in longer.items():
            for part, value in state.items():
                if part != "best":  # of the scores at the ends of iterations
                    assert first_difference(one[timesteps][part], value, f"{part} at {timesteps}") is None
    # an iteration ends after an evaluation and after a change of level, however long it might be
    evaluated = [timesteps for timesteps, state in one.items() if state["evaluation"]["timesteps"] == timesteps]
    assert len(evaluated) == 3
    assert set(evaluated) <= many.keys()
    if block == "levels":
        changes = [change["timesteps"] for change in many[480]["curriculum"]["history"]]
        assert len(changes) >= 2
        assert set(changes) <= many.keys()
    rows = {name: {row["step"]: row for row in metrics(cli.run(name))} for name in lengths}
    for step, row in rows["many"].items():
        assert {key: rows["one"][step][key] for key in row} == row


def test_a_run_that_is_stopped_ends_its_iterations_where_it_would_have(cli: Cli) -> None:
    config = config_of(cli, env={"n_envs": 4}, eval={"every": 130, "episodes": 1})
    words = ("fit", "--config", config, "--model.cycles_per_iteration", 3)
    cli(*words, "--name", "straight")
    cli(*words, "--name", "stopped", "--pause_at", 70, expect=75)
    cli(*words, "--name", "stopped", "--mode", "resume", "--pause_at", 250, expect=75)
    cli(*words, "--name", "stopped", "--mode", "resume")
    assert metrics(cli.run("straight")) == metrics(cli.run("stopped"))
    ours, theirs = final_state(cli.run("straight")), final_state(cli.run("stopped"))
    assert all(first_difference(ours[name], theirs[name], name) is None for name in ours)


def test_the_length_may_change_at_a_resume(cli: Cli) -> None:
    config = config_of(cli, env={"n_envs": 4})
    cli("fit", "--config", config, "--name", "straight")
    cli("fit", "--config", config, "--name", "changed", "--model.cycles_per_iteration", 4, "--pause_at", 160, expect=75)
    cli("fit", "--config", config, "--name", "changed", "--mode", "resume", "--model.cycles_per_iteration", 9)
    ours, theirs = final_state(cli.run("straight")), final_state(cli.run("changed"))
    for name in ours.keys() - {"best"}:
        assert first_difference(ours[name], theirs[name], name) is None


def test_episodes_of_all_cycles_are_told(cli: Cli) -> None:
    """One line of the log, and every episode of its cycles in the journals."""
    config = config_of(cli, env={"n_envs": 4, "max_episode_steps": 6})
    for name, cycles in (("one", 1), ("many", 1000)):
        cli("fit", "--config", config, "--name", name, "--model.cycles_per_iteration", cycles)
    assert len(metrics(cli.run("many"))) == 1
    one, many = ((cli.run(name) / "monitor.csv").read_text().splitlines()[2:] for name in ("one", "many"))
    columns = [[line.split(",")[:2] for line in lines] for lines in (one, many)]
    assert columns[0] == columns[1]
    assert len(columns[0]) > 60


def test_an_iteration_counts_its_cycles() -> None:
    module = make(A2C, {"class_path": envs.PATH + "Noisy", "n_envs": 2}, n_steps=4, cycles_per_iteration=3)
    module.training_step(0, 0)
    assert (module.iteration.cycles, module.counters.iterations, module.counters.timesteps) == (3, 3, 24)
    assert module.metrics["time/iterations"] == 3
    module.counters.iterations = 4  # as after a resume in the middle of what another length had been
    module.training_step(0, 0)
    assert module.iteration.cycles == 2
    assert to_plain(module.counters.state_dict())["timesteps"] == 40
