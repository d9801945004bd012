"""PPO with sheeprl's own command line, and `checkpoint.resume_from` to go on.

https://github.com/Eclectic-Sheep/sheeprl/blob/main/howto/logs_and_checkpoints.md (`checkpoint.every`,
`checkpoint.resume_from`). It has no normalisation of vector observations of its own.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
import probe
import sheeprl.algos.ppo.ppo as ppo
from sheeprl.cli import run


def watch() -> None:
    train, build = ppo.train, ppo.build_agent
    seen: dict[str, Any] = {}

    def watched_build(*args: Any) -> Any:
        seen["agent"], player = build(*args)
        config = args[3]
        seen["every"] = config.env.num_envs * config.algo.rollout_steps
        seen["begun"] = False
        return seen["agent"], player

    def watched_train(fabric: Any, agent: Any, optimizer: Any, data: Any, aggregator: Any, cfg: Any) -> Any:
        frame = sys._getframe(1).f_locals
        if not seen["begun"]:
            probe.begin((frame["start_iter"] - 1) * seen["every"])
            seen["begun"] = True
        first = slice(0, probe.N_ENVS)
        actions = np.asarray(data["actions"][first]).argmax(-1)
        probe.update(frame["policy_step"], optimizer.param_groups[0]["lr"], np.asarray(data["state"][first]), actions)
        return train(fabric, agent, optimizer, data, aggregator, cfg)

    ppo.train, ppo.build_agent = watched_train, watched_build
    watch.seen = seen


def main() -> None:
    given = probe.arguments()
    os.chdir(given.dir)
    sys.argv = ["sheeprl", "exp=ppo", "env=gym", f"env.id={probe.ENV}", f"env.num_envs={probe.N_ENVS}"]
    sys.argv += ["env.sync_env=True", "env.capture_video=False", f"algo.rollout_steps={probe.N_STEPS}"]
    sys.argv += [f"algo.per_rank_batch_size={probe.BATCH}", f"algo.update_epochs={probe.EPOCHS}"]
    sys.argv += [f"algo.optimizer.lr={probe.LEARNING_RATE}", "algo.anneal_lr=True", f"seed={probe.SEED}"]
    sys.argv += [f"algo.total_steps={given.timesteps}", f"checkpoint.every={given.save_every}"]
    sys.argv += ["fabric.accelerator=cpu", "num_threads=1", "algo.run_test=False", "checkpoint.keep_last=50"]
    if given.resume is not None:
        sys.argv += [f"checkpoint.resume_from={given.resume}"]
    print("$", *sys.argv, flush=True)
    run()
    probe.end(watch.seen["agent"].state_dict())


if __name__ == "__main__":
    watch()
    main()
