"""Callbacks of a user: their state, and what they log, are those of the boundary that a checkpoint is of."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lit_rl import PPO
from lit_rl.state.plain import first_difference
from tests.helpers.cli import final_state, lineage, lit_rl, metrics
from tests.runs.conftest import Cli

HERE = "tests.runs.test_users_callbacks."


class Counts(Callback):
    """Counts iterations, logs the count, and changes the entropy bonus from some on: a schedule of the user's."""

    def __init__(self, after: int = 2) -> None:
        self.count, self.started, self.after = 0, 0, after

    def on_train_batch_start(self, trainer: Any, module: Any, *args: Any) -> None:
        self.started += 1
        if self.count >= self.after:
            module.ent_coef = 0.5

    def on_train_batch_end(self, trainer: Any, module: Any, *args: Any) -> None:
        self.count += 1
        trainer.logger.log_metrics({"mine/count": float(self.count)}, step=module.counters.timesteps)

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count, "started": self.started}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count, self.started = state["count"], state["started"]


class Fails(Callback):
    """Counts once, at the begin of the third iteration, after the others have done their work there."""

    def __init__(self, marker: str) -> None:
        self.marker = Path(marker)

    def on_train_batch_start(self, trainer: Any, module: Any, *args: Any) -> None:
        if module.counters.timesteps == 256 and not self.marker.exists():
            self.marker.touch()
            raise RuntimeError("once")


class Stops(Callback):
    """Ends training as Lightning's own callbacks do."""

    def __init__(self, at: int) -> None:
        self.at = at

    def on_train_batch_end(self, trainer: Any, module: Any, *args: Any) -> None:
        trainer.should_stop = module.counters.timesteps == self.at


class SelfLogs(Callback):
    """Logs by Lightning's `log`, in every second iteration."""

    def on_train_batch_end(self, trainer: Any, module: Any, *args: Any) -> None:
        if module.counters.iterations % 2 == 0:
            module.log("mine/self", float(module.counters.timesteps))


class FailsLate(Callback):
    """Raises at the end of the third iteration, when everything of it has been logged; once."""

    def __init__(self, marker: str) -> None:
        self.marker = Path(marker)

    def on_train_batch_start(self, trainer: Any, module: Any, *args: Any) -> None:
        trainer.logger.log_metrics({"mine/start": 1.0}, step=module.counters.timesteps)

    def on_train_batch_end(self, trainer: Any, module: Any, *args: Any) -> None:
        if module.counters.timesteps == 384 and not self.marker.exists():
            self.marker.touch()
            raise RuntimeError("once")


class Cannot(Callback):
    """Keeps what no checkpoint can hold."""

    def state_dict(self) -> dict[str, Any]:
        return {"seen": {"deep": {1, 2}}}


class HooksItself(PPO):
    """Does something after every iteration in a hook of its own."""

    def on_train_batch_end(self, *args: Any) -> None:
        self.ent_coef = 0.1


def callback(name: str, **arguments: Any) -> dict[str, Any]:
    return {"class_path": HERE + name, "init_args": arguments}


def same(cli: Cli, one: str, other: str) -> None:
    ours, theirs = final_state(cli.run(one)), final_state(cli.run(other))
    assert "callbacks" in ours
    for name in ours.keys() | theirs.keys():
        assert first_difference(ours.get(name), theirs.get(name), name) is None
    assert metrics(cli.run(one)) == metrics(cli.run(other))


@pytest.mark.parametrize("pause", [128, 256, 384])
def test_state_and_rows_are_of_the_boundary(cli: Cli, pause: int) -> None:
    config = cli.config({"trainer": {"callbacks": [callback("Counts")]}})
    cli("fit", "--config", config, "--name", "straight")
    cli("fit", "--config", config, "--name", "stopped", "--pause_at", pause, expect=75)
    cli("fit", "--config", config, "--name", "stopped", "--mode", "resume")
    same(cli, "straight", "stopped")
    rows = [row["mine/count"] for row in metrics(cli.run("straight")) if row.get("mine/count")]
    assert rows == ["1.0", "2.0", "3.0", "4.0"]


def test_an_error_saves_their_state_before_the_iteration(cli: Cli) -> None:
    """Another callback raises in the third iteration; the run goes on as if it never had."""
    fails = callback("Fails", marker=str(cli.cwd / "failed"))
    config = cli.config(
        {"trainer": {"callbacks": [callback("Counts"), fails]}, "checkpoint": {"every_timesteps": None}}
    )
    (cli.cwd / "failed").touch()
    cli("fit", "--config", config, "--name", "straight")
    (cli.cwd / "failed").unlink()
    done = lit_rl("fit", "--config", config, "--name", "stopped", cwd=cli.cwd, expect=1)
    assert "The state before this iteration, at timestep 256, is saved" in done.stderr
    cli("fit", "--config", config, "--name", "stopped", "--mode", "resume")
    same(cli, "straight", "stopped")


@pytest.mark.parametrize("pause", [128, 256, 384])
def test_what_is_logged_by_lightning_is_of_its_iteration(cli: Cli, pause: int) -> None:
    config = cli.config({"trainer": {"callbacks": [callback("SelfLogs")]}})
    cli("fit", "--config", config, "--name", "straight")
    cli("fit", "--config", config, "--name", "stopped", "--pause_at", pause, expect=75)
    cli("fit", "--config", config, "--name", "stopped", "--mode", "resume")
    assert metrics(cli.run("straight")) == metrics(cli.run("stopped"))
    rows = [row["mine/self"] for row in metrics(cli.run("straight")) if row.get("mine/self")]
    assert rows == ["256.0", "512.0"]


def test_what_an_unfinished_iteration_has_logged_is_no_row_of_the_run(cli: Cli) -> None:
    fails = callback("FailsLate", marker=str(cli.cwd / "failed"))
    config = cli.config({"trainer": {"callbacks": [fails]}, "checkpoint": {"every_timesteps": None}})
    (cli.cwd / "failed").touch()
    cli("fit", "--config", config, "--name", "straight")
    (cli.cwd / "failed").unlink()
    lit_rl("fit", "--config", config, "--name", "stopped", cwd=cli.cwd, expect=1)
    cli("fit", "--config", config, "--name", "stopped", "--mode", "resume")
    assert metrics(cli.run("straight")) == metrics(cli.run("stopped"))
    episodes = [[line.split(",")[:2] for line in (cli.run(name) / "monitor.csv").read_text().splitlines()[1:]]
                for name in ("straight", "stopped")]  # fmt: skip
    assert episodes[0] == episodes[1]
    assert events(cli.run("straight")) == events(cli.run("stopped"))


def events(run: Path) -> Counter[tuple[str, int]]:
    """How often each timestep of each metric stands in TensorBoard's files."""
    found: Counter[tuple[str, int]] = Counter()
    for file in run.glob("events.out.tfevents.*"):
        read = EventAccumulator(str(file))
        read.Reload()
        for tag in read.Tags()["scalars"]:
            found.update((tag, event.step) for event in read.Scalars(tag))
    return found


def test_a_callback_that_stops_is_no_end(cli: Cli) -> None:
    config = cli.config({"trainer": {"callbacks": [callback("Stops", at=256)]}})
    done = cli("fit", "--config", config, expect=75)
    assert "stopped by a callback (should_stop); go on with mode: resume: timestep 256 of 512" in done.out
    done = cli("fit", "--config", config, "--mode", "resume")
    assert "finished: timestep 512 of 512" in done.out


def test_each_segment_has_its_own_time(cli: Cli) -> None:
    words = ("fit", "--config", cli.config({"total_timesteps": 10**9}), "--trainer.max_time", "00:00:00:01")
    first = cli(*words, expect=75)
    assert "stopped by trainer.max_time" in first.out
    assert "stopped by trainer.max_time" in cli(*words, "--mode", "resume", expect=75).out
    segments = lineage(cli.run())["segments"]
    assert [segment["cause"] for segment in segments] == ["trainer.max_time"] * 2
    assert segments[1]["to_timesteps"] - segments[1]["from_timesteps"] > 128


def test_a_state_that_no_checkpoint_can_hold_is_told_before_the_first_step(cli: Cli) -> None:
    config = cli.config({"trainer": {"callbacks": [callback("Cannot")]}})
    done = cli("fit", "--config", config, expect=2)
    assert done.err.startswith("error: the state of the callback Cannot cannot be saved: ")
    assert "['seen']['deep'] is a builtins.set" in done.err
    assert not (cli.cwd / "lightning_logs").exists()


def test_a_hook_of_the_module_that_comes_too_late_is_refused(cli: Cli) -> None:
    config = cli.config({"model": {"class_path": HERE + "HooksItself"}})
    assert "HooksItself defines on_train_batch_end" in cli("fit", "--config", config, expect=2).err
