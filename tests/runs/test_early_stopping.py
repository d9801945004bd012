"""Lightning's EarlyStopping, as people use it: by the names of the run's metrics, exact over stops."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping

from lit_rl import PPO, EnvConfig, begin
from lit_rl.state.plain import first_difference
from lit_rl.training.metrics import is_metric
from tests.helpers.cli import final_state, lineage, lit_rl, metrics
from tests.runs.conftest import Cli

HERE = "tests.runs.test_early_stopping."


class Logs(Callback):
    """Logs a number that gets no better."""

    def on_train_batch_end(self, trainer: Any, module: Any, *args: Any) -> None:
        module.log("mine", 1.0)


class Reads(Callback):
    """Keeps what `callback_metrics` holds at the begin of every iteration."""

    def __init__(self) -> None:
        self.seen: list[dict[str, float]] = []

    def on_train_batch_start(self, trainer: Any, module: Any, *args: Any) -> None:
        found = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.seen.append({name: value for name, value in found.items() if not name.startswith("time/")})

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = list(state["seen"])


def stopping(monitor: str, **arguments: Any) -> dict[str, Any]:
    return {"class_path": "EarlyStopping", "init_args": {"monitor": monitor, **arguments}}


def steps(cli: Cli, name: str = "run") -> list[int]:
    return [int(row["step"]) for row in metrics(cli.run(name))]


@pytest.mark.parametrize(
    ("monitor", "arguments", "last"),
    [
        ("rollout/ep_len_mean", {"mode": "max", "min_delta": 1000.0, "patience": 2}, 384),
        ("rollout/ep_len_mean", {"mode": "max", "stopping_threshold": 5.0}, 128),
        ("rollout/ep_len_mean", {"mode": "max", "check_on_train_epoch_end": True, "stopping_threshold": 5.0}, 128),
        ("train/learning_rate", {"mode": "min", "patience": 1}, 256),
        ("mine", {"patience": 2}, 384),
    ],
)
def test_it_stops_on_a_metric(cli: Cli, monitor: str, arguments: dict[str, Any], last: int) -> None:
    callbacks = [{"class_path": HERE + "Logs"}, stopping(monitor, **arguments)]
    done = cli("fit", "--config", cli.config({"trainer": {"callbacks": callbacks}}))
    assert steps(cli)[-1] == last
    assert f"finished by early_stopping ({monitor}): timestep {last} of 512" in done.out
    assert lineage(cli.run())["segments"][-1]["cause"] == f"early_stopping ({monitor})"


def test_it_looks_after_evaluations_alone_when_it_monitors_one(cli: Cli) -> None:
    config = cli.config(
        {
            "total_timesteps": 1024,
            "eval": {"every": 256, "episodes": 1},
            "trainer": {"callbacks": [stopping("eval/mean_reward", mode="max", min_delta=1000.0, patience=2)]},
        }
    )
    cli("fit", "--config", config)
    assert steps(cli)[-1] == 768, "the first evaluation is the best, and two are no better"


@pytest.mark.parametrize("pause", [128, 256])
def test_it_and_what_callbacks_read_are_exact_over_a_stop(cli: Cli, pause: int) -> None:
    callbacks = [{"class_path": HERE + "Reads"}, stopping("rollout/ep_len_mean", min_delta=1000.0, patience=2)]
    config = cli.config({"eval": {"every": 128, "episodes": 1}, "trainer": {"callbacks": callbacks}})
    cli("fit", "--config", config, "--name", "straight")
    cli("fit", "--config", config, "--name", "stopped", "--pause_at", pause, expect=75)
    cli("fit", "--config", config, "--name", "stopped", "--mode", "resume")
    ours, theirs = final_state(cli.run("straight")), final_state(cli.run("stopped"))
    assert first_difference(ours["callbacks"], theirs["callbacks"], "callbacks") is None
    assert steps(cli, "straight") == steps(cli, "stopped")
    assert steps(cli, "straight")[-1] == 384


NO_BETTER = stopping("rollout/ep_len_mean", mode="max", min_delta=1000.0, patience=2)
RESUME = ("--mode", "resume")


def config_with(cli: Cli, *callbacks: Any, **over: Any) -> Any:
    return cli.config({"total_timesteps": 1024, **over, "trainer": {"callbacks": list(callbacks)}})


def test_a_resume_of_a_run_that_it_has_ended_trains_nothing_and_says_why(cli: Cli) -> None:
    config = config_with(cli, NO_BETTER)
    cli("fit", "--config", config)
    before = {file: file.read_bytes() for file in cli.run().rglob("*") if file.is_file()}
    for again in (RESUME, RESUME, ("--requeue", "true")):
        said = cli("fit", "--config", config, *again).out
        assert "finished by early_stopping: timestep 384 of 1,024, where EarlyStopping said: Monitored metric" in said
        assert "did not improve in the last 2 records" in said
        assert "nothing to do. To go on, take it out of trainer.callbacks" in said
    assert {file: file.read_bytes() for file in cli.run().rglob("*") if file.is_file()} == before


@pytest.mark.parametrize(
    ("callbacks", "options", "last"),
    [
        ([], (), 1024),
        ([stopping("rollout/ep_len_mean", mode="max", min_delta=1000.0, patience=4)], (), 896),
        ([stopping("rollout/ep_rew_mean", mode="max", patience=100)], (), 1024),
        ([NO_BETTER], ("--resume.additional_timesteps", 128), 512),
        ([NO_BETTER], ("--resume.total_timesteps", 2048), 640),
    ],
    ids=["without it", "patience", "another", "additional", "total"],
)
def test_a_run_that_it_has_ended_goes_on_where_that_is_asked_for(
    cli: Cli, callbacks: list[Any], options: tuple[Any, ...], last: int
) -> None:
    cli("fit", "--config", config_with(cli, NO_BETTER))
    done = cli("fit", "--config", config_with(cli, *callbacks), *RESUME, *options)
    assert steps(cli)[-1] == last, "it waits for its whole patience once more"
    assert "nothing to do" not in done.out
    if last in (640, 896):
        assert "nothing to do" in cli("fit", "--config", config_with(cli, *callbacks), *RESUME).out
        assert steps(cli)[-1] == last


def test_what_goes_on_past_its_end_is_what_a_run_without_it_comes_to(cli: Cli) -> None:
    cli("fit", "--config", config_with(cli), "--name", "free")
    cli("fit", "--config", config_with(cli, NO_BETTER), "--name", "ended")
    cli("fit", "--config", config_with(cli), "--name", "ended", *RESUME)
    ours, theirs = final_state(cli.run("free")), final_state(cli.run("ended"))
    differing = {name for name in ours if first_difference(ours[name], theirs[name], name) is not None}
    assert differing == set()
    assert metrics(cli.run("free")) == metrics(cli.run("ended"))


def test_a_requeued_extension_that_it_has_ended_is_done(cli: Cli) -> None:
    config = config_with(cli, NO_BETTER)
    cli("fit", "--config", config)
    extended = ("--config", config, *RESUME, "--resume.total_timesteps", 2048, "--requeue", "true")
    cli("fit", *extended)
    assert steps(cli)[-1] == 640
    assert "finished by early_stopping: timestep 640 of 2,048" in cli("fit", *extended).out
    assert steps(cli)[-1] == 640


def test_its_end_counts_more_than_a_pause_at_the_same_timestep(cli: Cli) -> None:
    cli("fit", "--config", config_with(cli, NO_BETTER), "--pause_at", 384)
    assert lineage(cli.run())["segments"][-1]["cause"] == "early_stopping (rollout/ep_len_mean)"


def test_runs_show_and_report_name_its_end(cli: Cli) -> None:
    cli("fit", "--config", config_with(cli, NO_BETTER))
    (run,) = json.loads(cli("runs", "--json").out)
    assert (run["state"], run["cause"]) == ("finished", "early_stopping (rollout/ep_len_mean)")
    assert "timesteps 0 to 384, early_stopping (rollout/ep_len_mean)" in cli("show", "run").out
    cli("report", "run", "--out", "page.html")
    page = (cli.cwd / "page.html").read_text()
    assert "early_stopping (rollout/ep_len_mean)" in page
    assert "stopped by" not in page


@pytest.mark.slow
def test_seeds_go_on_with_the_next_after_it(cli: Cli) -> None:
    config = config_with(cli, NO_BETTER)
    lit_rl("fit", "--config", config, "--seeds", "1,2", cwd=cli.cwd)
    assert [steps(cli, f"run_seed_{seed}")[-1] for seed in (1, 2)] == [384, 384]


@pytest.mark.parametrize("again", [True, False])
def test_from_python_it_is_the_same_whenever_the_trainer_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    monkeypatch.chdir(tmp_path)

    def train(mode: Any, knows: bool) -> tuple[bool, int]:
        module = PPO(env=EnvConfig(id="CartPole-v1", n_envs=4, backend="sync"), n_steps=32, total_timesteps=1024)
        early = EarlyStopping("rollout/ep_len_mean", mode="max", min_delta=1000.0, patience=2)
        trainer = Trainer(callbacks=[early], max_epochs=-1, logger=False, devices=1) if knows else None
        run = begin(module, mode=mode, trainer=trainer)
        if run is None:
            return False, 0
        trainer = trainer or Trainer(callbacks=[*run.callbacks, early], logger=run.loggers, max_epochs=-1, devices=1)
        with run:
            trainer.fit(module, ckpt_path=run.ckpt_path, weights_only=True)
        return True, run.exit_code

    assert train("fresh", knows=again) == (True, 0)
    assert train("resume", knows=again) == (not again, 0)
    run = tmp_path / "lightning_logs" / "run" / "version_0"
    assert int(metrics(run)[-1]["step"]) == 384
    assert lineage(run)["segments"][-1]["cause"] == "early_stopping (rollout/ep_len_mean)"


@pytest.mark.parametrize(
    ("monitor", "said"),
    [
        ("rollout/ep_rew_maen", "Did you mean 'rollout/ep_rew_mean'?"),
        ("eval/mean_reward", "there are no evaluations; give eval.every."),
    ],
)
def test_a_metric_that_is_not_there_is_a_line(cli: Cli, monitor: str, said: str) -> None:
    message = cli.error("fit", "--config", cli.config({"trainer": {"callbacks": [stopping(monitor)]}}))
    assert f"EarlyStopping monitors '{monitor}'" in message
    assert said in message


@pytest.mark.parametrize(("monitor", "strict", "code"), [("val_loss", True, 2), ("val_loss", False, 0)])
def test_a_metric_of_nobody_is_found_out_in_the_first_iteration(
    cli: Cli, monitor: str, strict: bool, code: int
) -> None:
    config = cli.config({"trainer": {"callbacks": [stopping(monitor, strict=strict)]}})
    done = cli("fit", "--config", config, expect=code)
    assert ("monitors 'val_loss', which is not logged here" in done.err) is strict


def test_a_metric_of_another_algorithm_is_found_out_in_the_first_iteration(cli: Cli) -> None:
    config = cli.config({"trainer": {"callbacks": [stopping("train/critic_loss")]}})
    assert "monitors 'train/critic_loss'" in cli("fit", "--config", config, expect=2).err


def test_all_that_is_logged_is_in_the_list(cli: Cli) -> None:
    cli("fit", "--config", cli.config({"eval": {"every": 256, "episodes": 1}}))
    names = {name for row in metrics(cli.run()) for name in row} - {"step"}
    assert {name for name in names if not is_metric(name)} == set()
