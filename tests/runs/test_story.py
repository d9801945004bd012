"""What a resume is for: an agent that plays a game as well as can be, stopped and gone on with, plays it as well."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from lightning.pytorch import Callback

from lit_rl import DQN
from lit_rl.training.evaluation import evaluate_beside
from tests.helpers.cli import lit_rl
from tests.runs.conftest import Cli

BEST = 10.0
CONFIG: dict[str, Any] = {
    "name": "run",
    "seed_everything": 1,
    "total_timesteps": 4000,
    "env": {"class_path": "tests.helpers.fetch.Fetch", "n_envs": 1, "backend": "sync", "max_episode_steps": 20},
    "model": {
        "class_path": "DQN",
        "init_args": {
            "buffer_size": 20_000, "learning_starts": 200, "batch_size": 64, "learning_rate": 1e-3, "gamma": 0.9,
            "train_freq": 2, "gradient_steps": 1, "target_update_interval": 200, "exploration_fraction": 0.9,
            "double_q": True, "policy_kwargs": {"net_arch": [64, 64]},
        },
    },
    "eval": {"every": 500, "episodes": 20},
    "checkpoint": {"every_timesteps": None},
}  # fmt: skip


class Looks(Callback):
    """Writes down how a run is when a segment begins and when it ends: a line of JSON each."""

    def __init__(self, file: str) -> None:
        self.file, self.begun = Path(file), False

    def on_train_batch_start(self, trainer: Any, module: Any, *args: Any) -> None:  # everything is in place by now
        if not self.begun:
            self.begun = True
            self.look(module)

    def on_train_end(self, trainer: Any, module: Any) -> None:
        self.look(module)

    def look(self, module: DQN) -> None:
        timesteps, replay = module.counters.timesteps, module.replay
        played = evaluate_beside(module, module.eval_config, module.curriculum, timesteps)
        digest = hashlib.sha256()
        for name, column in sorted(replay.columns(replay.begin, replay.end).items()):
            digest.update(name.encode() + np.ascontiguousarray(column).tobytes())
        seen = {
            "timesteps": timesteps,
            "returns": [episode.ret for episode in played.episodes],
            "epsilon": module.rollout_metrics()["rollout/exploration_rate"],
            "replay": [replay.begin, replay.end, digest.hexdigest()],
        }
        with self.file.open("a") as file:
            file.write(json.dumps(seen) + "\n")


@pytest.mark.slow
def test_a_trained_agent_is_as_good_after_a_stop(cli: Cli) -> None:
    """In processes of their own: nothing but the files goes from one to the other."""
    looks, config = cli.cwd / "looks.jsonl", cli.cwd / "run.yaml"
    callback = {"class_path": "tests.runs.test_story.Looks", "init_args": {"file": str(looks)}}
    config.write_text(yaml.safe_dump({**CONFIG, "trainer": {"callbacks": [callback]}}))
    lit_rl("fit", "--config", config, "--pause_at", "2500", cwd=cli.cwd, expect=75)
    lit_rl("fit", "--config", config, "--mode", "resume", cwd=cli.cwd)
    at_start, before, after, at_end = (json.loads(line) for line in looks.read_text().splitlines())
    assert np.mean(at_start["returns"]) < 0.0
    assert before["returns"] == [BEST] * 20
    assert after == before
    assert (after["timesteps"], after["replay"][:2]) == (2500, [0, 2500])
    assert 0.3 < after["epsilon"] < 0.4
    assert at_end["epsilon"] == pytest.approx(0.05)
    data = np.load(cli.run() / "evaluations.npz")
    means = dict(zip(data["timesteps"].tolist(), data["results"].mean(axis=1).tolist(), strict=True))
    assert means[2500] == np.mean(after["returns"])
    assert [means[t] for t in (2500, 3000, 3500, 4000)] == [BEST] * 4
