"""Lightning's EarlyStopping, as people use it: by the names of the run's metrics, exact over stops."""

from __future__ import annotations

from typing import Any

import pytest
from lightning.pytorch import Callback

from lit_rl.state.plain import first_difference
from lit_rl.training.metrics import is_metric
from tests.helpers.cli import final_state, lineage, metrics
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
    done = cli("fit", "--config", cli.config({"trainer": {"callbacks": callbacks}}), expect=75)
    assert steps(cli)[-1] == last
    assert f"stopped by EarlyStopping ({monitor})" in done.out
    assert lineage(cli.run())["segments"][-1]["cause"] == f"EarlyStopping ({monitor})"


def test_it_looks_after_evaluations_alone_when_it_monitors_one(cli: Cli) -> None:
    config = cli.config(
        {
            "total_timesteps": 1024,
            "eval": {"every": 256, "episodes": 1},
            "trainer": {"callbacks": [stopping("eval/mean_reward", mode="max", min_delta=1000.0, patience=2)]},
        }
    )
    cli("fit", "--config", config, expect=75)
    assert steps(cli)[-1] == 768, "the first evaluation is the best, and two are no better"


@pytest.mark.parametrize("pause", [128, 256])
def test_it_and_what_callbacks_read_are_exact_over_a_stop(cli: Cli, pause: int) -> None:
    callbacks = [{"class_path": HERE + "Reads"}, stopping("rollout/ep_len_mean", min_delta=1000.0, patience=2)]
    config = cli.config({"eval": {"every": 128, "episodes": 1}, "trainer": {"callbacks": callbacks}})
    cli("fit", "--config", config, "--name", "straight", expect=75)
    cli("fit", "--config", config, "--name", "stopped", "--pause_at", pause, expect=75)
    cli("fit", "--config", config, "--name", "stopped", "--mode", "resume", expect=75)
    ours, theirs = final_state(cli.run("straight")), final_state(cli.run("stopped"))
    assert first_difference(ours["callbacks"], theirs["callbacks"], "callbacks") is None
    assert steps(cli, "straight") == steps(cli, "stopped")
    assert steps(cli, "straight")[-1] == 384


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
