"""`fit --seeds`: each run is bit for bit what `--seed_everything` gives, and mistakes come before the first begins."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from lit_rl.state.plain import first_difference
from tests.helpers.cli import final_state, lineage, lit_rl, run_directory, start, wait_for, write_config
from tests.runs.conftest import Cli, cli  # noqa: F401


def same(a: Path, b: Path) -> bool:
    ours, theirs = final_state(a), final_state(b)
    return all(first_difference(ours[name], theirs[name], name) is None for name in ours)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--seeds", "1,x"), "--seeds: expected whole numbers such as 1,2,3, got '1,x'."),
        (("--seeds", ""), "--seeds: expected whole numbers"),
        (("--seeds", "1,2,1"), "--seeds: 1 stands twice"),
        (("--seeds", "1,4294967296"), "--seeds: 4294967296 is too large"),
        (("--seeds",), "--seeds needs a value."),
        (("--seeds", "1,2", "--seed_everything", "3"), "--seed_everything: means one run, and --seeds several"),
        (("--seeds", "1,2", "--ckpt_path", "run.yaml"), "--ckpt_path: means one run, and --seeds several"),
        (("--seeds", "1,2", "--mode", "resume"), "'last' of the run 'run_seed_1' is not there"),
        (("--seeds", "1,2", "--mode", "resume"), "--requeue true begins the seeds that have not begun"),
        (("--seeds", "1,2", "--mode", "resume", "--resume.checkpoint", "x"), "'x' is one run's"),
        (("--seeds=1,2", "--model.learning_rat", "3"), "--model.learning_rat: there is no such option"),
        (("--seeds=1,2", "--env.id", "CartPole-v7"), "Did you mean 'CartPole-v1'"),
        (("--seeds=1,2", "--name", "a/b"), "holds a slash"),
        (("--seeds=1,2", "--name", ""), "name: '' is empty; give a word, such as cartpole."),
        (("--seeds=1,2", "--name="), "name: '' is empty; give a word, such as cartpole."),
    ],
)
def test_mistakes_come_before_anything_begins(cli: Cli, words: tuple[str, ...], text: str) -> None:  # noqa: F811
    assert text in cli.error("fit", "--config", cli.config(), *words)


def test_a_name_is_its_text_and_may_stand_in_a_variable(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    config = cli.config()
    assert "name: '' is empty" in cli.error("fit", "--config", config, "--name", "")
    seeds = ("fit", "--config", config, "--seeds", "1,2", "--mode", "resume")
    assert "of the run '1e3_seed_1' is not there" in cli.error(*seeds, "--name", "1e3")
    config.write_text(config.read_text().replace("name: run\n", ""))
    monkeypatch.setenv("PL_FIT__NAME", "of_the_variable")
    assert "of the run 'of_the_variable_seed_1' is not there" in cli.error(*seeds)


def test_the_configuration_of_one_run_is_that_runs(cli: Cli) -> None:  # noqa: F811
    cli("fit", "--config", cli.config(), "--pause_at", 128, expect=75)
    own = cli.run() / "config.yaml"
    said = cli.error("fit", "--config", own.relative_to(cli.cwd), "--seeds", "1,2", "--mode", "resume")
    assert "lightning_logs/run/version_0' is one run's; with --seeds it is last or best, of each seed." in said


def test_seeds_are_the_commands_and_not_the_files(cli: Cli) -> None:  # noqa: F811
    assert "unknown key 'seeds'" in cli.error("fit", "--config", cli.config({"seeds": [1, 2]}))
    assert "--seeds: there is no such option" in cli.error("test", "--config", cli.config(), "--seeds", "1")


def test_one_of_many_processes_begins_no_seeds(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "one of 2 processes that train together" in cli.error("fit", "--config", cli.config(), "--seeds", "1")


@pytest.mark.slow
def test_each_is_what_its_seed_gives_and_can_be_gone_on_with(cli: Cli) -> None:  # noqa: F811
    config = cli.config()
    done = lit_rl("fit", "--config", config, "--seeds", "7,2", cwd=cli.cwd)
    assert [line for line in done.stdout.splitlines() if line.startswith("seed ")] == [
        "seed 7 (1 of 2): run_seed_7",
        "seed 2 (2 of 2): run_seed_2",
    ]
    for seed in (7, 2):
        cli("fit", "--config", config, "--seed_everything", seed, "--name", f"alone_{seed}")
        assert same(cli.run(f"run_seed_{seed}"), cli.run(f"alone_{seed}"))
    assert not same(cli.run("run_seed_7"), cli.run("run_seed_2"))
    done = lit_rl("fit", "--config", config, "--seeds=7,2", "--mode", "resume", cwd=cli.cwd)
    assert done.stdout.count("nothing to do") == 2
    assert not run_directory(cli.cwd, "run_seed_7", 1).exists()


@pytest.mark.slow
def test_each_seed_may_have_several_ranks(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    two = ("--trainer.devices", "2", "--trainer.accelerator", "cpu")
    done = lit_rl("fit", "--config", config, "--seeds", "1,2", *two, cwd=tmp_path)
    assert done.stdout.count("ranks: 2, with 2 environments each") == 2
    lit_rl("fit", "--config", config, "--seed_everything", "2", "--name", "alone", *two, cwd=tmp_path)
    assert same(run_directory(tmp_path, "run_seed_2"), run_directory(tmp_path, "alone"))
    assert not same(run_directory(tmp_path, "run_seed_1"), run_directory(tmp_path, "alone"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_one_and_begins_no_other(tmp_path: Path, number: signal.Signals) -> None:
    config = write_config(tmp_path, {"total_timesteps": 6400})
    straight = write_config(tmp_path, {"total_timesteps": 6400, "name": "straight"}, "straight.yaml")
    process = start("fit", "--config", config, "--seeds", "1,2", cwd=tmp_path)
    first, second = (run_directory(tmp_path, f"run_seed_{seed}") for seed in (1, 2))
    wait_for(lambda: (first / "checkpoints" / "last").exists())
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 75, err
    assert lineage(first)["segments"][-1]["cause"] == number.name
    assert "seed 1 was stopped; not begun: 2." in out
    assert not second.exists()
    lit_rl("fit", "--config", config, "--seeds", "1,2", "--requeue", "true", cwd=tmp_path)
    lit_rl("fit", "--config", straight, cwd=tmp_path)
    assert same(first, run_directory(tmp_path, "straight"))
    assert lineage(second)["segments"][-1]["cause"] == "finished"
