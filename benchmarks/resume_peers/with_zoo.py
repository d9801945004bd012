"""PPO with the RL Zoo's own command line: `train.py`, and `-i` to go on.

https://rl-baselines3-zoo.readthedocs.io/en/master/guide/train.html ("Continue training": `-i`, `-n` more timesteps).
"""

from __future__ import annotations

import sys
from typing import Any

import probe
import with_sb3
import yaml
from rl_zoo3.exp_manager import ExperimentManager
from rl_zoo3.train import train

SETTINGS = {
    "n_envs": probe.N_ENVS,
    "policy": "MlpPolicy",
    "n_steps": probe.N_STEPS,
    "batch_size": probe.BATCH,
    "n_epochs": probe.EPOCHS,
    "learning_rate": f"lin_{probe.LEARNING_RATE}",
    "normalize": "dict(norm_obs=True, norm_reward=False)",
}


def watch() -> None:
    save = ExperimentManager.save_trained_model

    def watched(manager: Any, model: Any) -> None:
        save(manager, model)
        probe.end(model.policy.state_dict())

    with_sb3.watch()
    ExperimentManager.save_trained_model = watched


def main() -> None:
    given = probe.arguments()
    settings = given.dir / "ppo.yml"
    settings.write_text(yaml.safe_dump({probe.ENV: {**SETTINGS, "n_timesteps": given.timesteps}}))
    more = given.timesteps
    sys.argv = ["train.py", "--algo", "ppo", "--env", probe.ENV, "-conf", str(settings), "-f", str(given.dir)]
    sys.argv += ["--seed", str(probe.SEED), "--save-freq", str(given.save_every), "--eval-freq", "-1"]
    sys.argv += ["--num-threads", "1", "--device", "cpu"]
    if given.resume is not None:
        more -= int(given.resume.stem.split("_")[2])
        sys.argv += ["-i", str(given.resume)]
    sys.argv += ["-n", str(more)]
    print("$", *sys.argv, flush=True)
    train()


if __name__ == "__main__":
    watch()
    main()
