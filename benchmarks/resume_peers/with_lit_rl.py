"""PPO with lit_rl's own command line: `fit --requeue true`, the same command to begin and to go on (docs/modes.md)."""

from __future__ import annotations

import os
import sys
from typing import Any

import probe
import yaml

from lit_rl.__main__ import main as lit_rl
from lit_rl.algorithms.ppo import PPO

SETTINGS = {
    "name": "run",
    "seed_everything": probe.SEED,
    "env": {"id": probe.ENV, "n_envs": probe.N_ENVS, "normalize": {"obs": True, "reward": False}},
    "model": {
        "class_path": "PPO",
        "init_args": {
            "n_steps": probe.N_STEPS,
            "batch_size": probe.BATCH,
            "n_epochs": probe.EPOCHS,
            "learning_rate": f"lin_{probe.LEARNING_RATE}",
        },
    },
}


def watch() -> None:
    start, update, teardown = PPO.on_train_start, PPO.update, PPO.teardown

    def moments(model: PPO) -> Any:
        return next(each for name, each in model.state_dict().items() if name.endswith(".mean"))

    def watched_start(model: PPO) -> None:
        start(model)
        probe.begin(model.counters.timesteps, moments(model), model.episodes.count)

    def watched_update(model: PPO, rollout: Any) -> Any:
        rate = model.optimizers_now()[0].param_groups[0]["lr"]
        first = slice(0, probe.N_ENVS)
        probe.update(model.counters.timesteps, rate, rollout.obs[first], rollout.action[first], moments(model))
        return update(model, rollout)

    def watched_teardown(model: PPO, stage: str) -> None:
        teardown(model, stage)
        probe.end({name: each for name, each in model.state_dict().items() if name.startswith("policy.")})

    PPO.on_train_start, PPO.update, PPO.teardown = watched_start, watched_update, watched_teardown


def main() -> int:
    given = probe.arguments()
    settings = {**SETTINGS, "total_timesteps": given.timesteps, "checkpoint": {"every_timesteps": given.save_every}}
    file = given.dir / "run.yaml"
    file.write_text(yaml.safe_dump(settings))
    os.chdir(given.dir)
    argv = ["fit", "--config", str(file), "--requeue", "true"]
    print("$ lit-rl", *argv, flush=True)
    sys.argv = ["lit-rl", *argv]
    return int(lit_rl() or 0)


if __name__ == "__main__":
    watch()
    sys.exit(main())
