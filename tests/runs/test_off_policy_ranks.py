"""Off-policy runs on two ranks: each has the replay of its own environments, and all have the same networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lit_rl.algorithms.dqn import DQN
from lit_rl.checkpoint.reader import load_rank
from tests.helpers.cli import checkpoints, lit_rl, run_directory
from tests.runs.conftest import Cli
from tests.runs.test_off_policy import CASES, same

TWO = ("--trainer.devices", 2, "--trainer.accelerator", "cpu", "--trainer.strategy", "ddp")


def write(cwd: Path, case: str, **settings: Any) -> Path:
    config = {**CASES[case], "env": {**CASES[case]["env"], "n_envs": 4}}
    config["model"] = {**config["model"], "init_args": {**config["model"]["init_args"], **settings}}
    path = cwd / "run.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("case", ["DQN, prioritized", "SAC, moments, wrapped round", "SAC, hindsight"])
def test_a_stop_changes_nothing(cli: Cli, case: str) -> None:
    words = ("fit", "--config", write(cli.cwd, case), *TWO)
    lit_rl(*words, "--name", "straight", cwd=cli.cwd)
    lit_rl(*words, "--pause_at", 200, cwd=cli.cwd, expect=75)
    lit_rl(*words, "--mode", "resume", cwd=cli.cwd)
    same(cli.run(), cli.run("straight"))


class SameNetworks(DQN):
    """Compares its weights with those of the other ranks after every update."""

    def update(self, experience: None) -> dict[str, float]:
        metrics = super().update(experience)
        for tensor in self.policy.state_dict().values():
            of_all = self.ranks.gather_tensor(tensor)
            assert torch.equal(of_all[0], of_all[1])
        return metrics


@pytest.mark.slow
def test_ranks_have_the_same_networks_and_replays_of_their_own(cli: Cli) -> None:
    config = yaml.safe_load(write(cli.cwd, "DQN").read_text())
    config["model"]["class_path"] = f"{__name__}.SameNetworks"
    path = cli.cwd / "run.yaml"
    path.write_text(yaml.safe_dump(config))
    done = lit_rl("fit", "--config", path, *TWO, cwd=cli.cwd)
    assert "replay: 0 of 10,000 transitions" in done.stdout
    found = checkpoints(run_directory(cli.cwd))[-1]
    one, other = (load_rank(found, rank)["replay"] for rank in range(2))
    assert (one["n_envs"], other["n_envs"]) == (2, 2)
    columns = [next(iter(each["pieces"]))[2] for each in (one, other)]
    assert (columns[0]["obs"] != columns[1]["obs"]).any()


@pytest.mark.slow
def test_a_run_of_two_ranks_does_not_go_on_with_one(cli: Cli) -> None:
    words = ("fit", "--config", write(cli.cwd, "DQN"))
    lit_rl(*words, *TWO, "--pause_at", 200, cwd=cli.cwd, expect=75)
    assert "trainer.devices: the run is of 2 ranks, not of 1" in cli.error(*words, "--mode", "resume")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            {"batch_size": 7},
            "model.batch_size is 7, and 2 ranks (trainer.devices times trainer.num_nodes) cannot share",
        ),
        ({"share_exploration": True}, "model.share_exploration: one draw for all environments is for one process"),
    ],
)
def test_what_ranks_cannot_share_is_refused(cli: Cli, settings: dict[str, Any], text: str) -> None:
    done = lit_rl("fit", "--config", write(cli.cwd, "DQN", **settings), *TWO, cwd=cli.cwd, expect=2)
    assert text in done.stderr
    assert not (cli.cwd / "lightning_logs").exists()
