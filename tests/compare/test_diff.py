"""`lit-rl diff`: settings, versions, and the timestep at which two logs part."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

from tests.compare.test_runs import changed
from tests.runs.conftest import Cli


def rewrite(run: Path, change: Callable[[list[dict[str, str]]], None]) -> None:
    with open(run / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    change(rows)
    with open(run / "metrics.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def test_a_run_that_was_paused_equals_one_that_was_not(cli: Cli, runs: Path) -> None:
    done = cli("diff", "run/0", "resumed")
    assert "settings: equal" in done.out
    assert "versions: equal" in done.out
    assert '"fresh" | "resume"' in done.out
    assert "histories: equal at 4 timesteps, up to 512" in done.out
    assert len(done.out.splitlines()) <= 24


def test_a_shorter_log_is_a_difference(cli: Cli, runs: Path) -> None:
    out = cli("diff", "run/0", "paused", expect=1).out
    assert "histories: equal at 2 timesteps, up to 256" in out
    assert "a has logged up to timestep 512, b up to timestep 256" in out


def test_another_setting_is_named_with_where_the_logs_part(cli: Cli, runs: Path) -> None:
    out = cli("diff", "run/0", "run/1", expect=1).out
    assert "model.init_args.learning_rate  0.0003 | 0.001" in out
    assert "histories: part at timestep 128 (nothing before it is equal)" in out
    assert "train/loss" in out
    found = json.loads(cli("diff", "run/0", "run/1", "--json", expect=1).out)
    assert found["settings"] == {"model.init_args.learning_rate": ["0.0003", "0.001"]}
    assert found["histories"]["parted_at"] == 128
    assert found["equal"] is False


def test_the_first_difference_is_found_in_the_middle(cli: Cli, runs: Path) -> None:
    rewrite(runs / "resumed" / "version_0", lambda rows: [row.update({"train/loss": "7"}) for row in rows[2:]])
    found = json.loads(cli("diff", "run/0", "resumed", "--json", expect=1).out)["histories"]
    assert (found["last_equal"], found["parted_at"], list(found["metrics"])) == (256, 384, ["train/loss"])
    assert found["metrics"]["train/loss"][1] == "7"


def test_clocks_do_not_count(cli: Cli, runs: Path) -> None:
    rewrite(runs / "resumed" / "version_0", lambda rows: [row.update({"time/fps": "7"}) for row in rows])
    cli("diff", "run/0", "resumed")


def test_versions_are_named(cli: Cli, runs: Path) -> None:
    lineage = runs / "resumed" / "version_0" / "lineage.json"
    changed(lineage, lambda content: content["segments"][-1]["versions"].update(torch="1.0", more="2"))
    out = cli("diff", "run/0", "resumed", expect=1).out
    assert "| 1.0" in out
    assert "more   (not there) | 2" in out


def test_damage_is_said_and_is_a_difference(cli: Cli, runs: Path) -> None:
    (runs / "resumed" / "version_0" / "lineage.json").write_text("[]")
    assert (
        "WARNING: lightning_logs/resumed/version_0/lineage.json is damaged"
        in cli("diff", "run/0", "resumed", expect=1).out
    )


def test_nothing_logged_yet(cli: Cli, runs: Path) -> None:
    (runs / "resumed" / "version_0" / "metrics.csv").unlink()
    assert "no timestep stands in both logs" in cli("diff", "run/0", "resumed", expect=1).out
