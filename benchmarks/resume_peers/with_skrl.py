"""PPO with skrl: checkpoints by `experiment.checkpoint_interval`, and `agent.load` to go on.

https://skrl.readthedocs.io/en/latest/intro/data.html (checkpoints). The trainer always begins at timestep 0; what is
left to do is given by whoever resumes.
"""

from __future__ import annotations

import re
from typing import Any

import gymnasium
import probe
import torch
from skrl.agents.torch.ppo import PPO, PPO_CFG
from skrl.envs.wrappers.torch import wrap_env
from skrl.memories.torch import RandomMemory
from skrl.models.torch import CategoricalMixin, DeterministicMixin, Model
from skrl.resources.preprocessors.torch import RunningStandardScaler
from skrl.trainers.torch import SequentialTrainer
from skrl.utils import set_seed


def network(size: int) -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Linear(4, 64), torch.nn.Tanh(), torch.nn.Linear(64, 64), torch.nn.Tanh(), torch.nn.Linear(64, size)
    )


class Policy(CategoricalMixin, Model):
    def __init__(self, **spaces: Any) -> None:
        Model.__init__(self, **spaces)
        CategoricalMixin.__init__(self, unnormalized_log_prob=True)
        self.net = network(2)

    def compute(self, inputs: Any, role: str) -> Any:
        return self.net(inputs["observations"]), {}


class Value(DeterministicMixin, Model):
    def __init__(self, **spaces: Any) -> None:
        Model.__init__(self, **spaces)
        DeterministicMixin.__init__(self)
        self.net = network(1)

    def compute(self, inputs: Any, role: str) -> Any:
        return self.net(inputs["observations"]), {}


def watch() -> None:
    init, update = PPO.init, PPO.update

    def moments(agent: PPO) -> Any:
        return agent._observation_preprocessor.running_mean

    def watched_init(agent: PPO, **given: Any) -> None:
        init(agent, **given)
        probe.begin(0, moments(agent))

    def watched_update(agent: PPO, *, timestep: int, timesteps: int) -> None:
        obs, actions = (agent.memory.get_tensor_by_name(name)[0] for name in ("observations", "actions"))
        rate = agent.optimizer.param_groups[0]["lr"]
        probe.update((timestep + 1) * probe.N_ENVS, rate, obs, actions, moments(agent))
        update(agent, timestep=timestep, timesteps=timesteps)

    PPO.init, PPO.update = watched_init, watched_update


def main() -> None:
    given = probe.arguments()
    set_seed(probe.SEED)
    env = wrap_env(gymnasium.make_vec(probe.ENV, num_envs=probe.N_ENVS, vectorization_mode="sync"))
    spaces = {"observation_space": env.observation_space, "action_space": env.action_space, "device": "cpu"}
    cfg = PPO_CFG(
        rollouts=probe.N_STEPS, learning_epochs=probe.EPOCHS, mini_batches=probe.ROLLOUT // probe.BATCH,
        learning_rate=probe.LEARNING_RATE, learning_rate_scheduler=torch.optim.lr_scheduler.LinearLR,
        learning_rate_scheduler_kwargs={
            "start_factor": 1.0, "end_factor": 1e-3, "total_iters": probe.EPOCHS * given.timesteps // probe.ROLLOUT,
        },
        observation_preprocessor=RunningStandardScaler,
        observation_preprocessor_kwargs={"size": env.observation_space, "device": "cpu"},
    )  # fmt: skip
    cfg.experiment.directory, cfg.experiment.experiment_name = str(given.dir), "run"
    cfg.experiment.checkpoint_interval = given.save_every // probe.N_ENVS
    models = {"policy": Policy(**spaces), "value": Value(**spaces)}
    memory = RandomMemory(memory_size=probe.N_STEPS, num_envs=env.num_envs, device="cpu")
    agent = PPO(models=models, memory=memory, cfg=cfg, **spaces)
    timesteps = given.timesteps // probe.N_ENVS
    if given.resume is not None:
        agent.load(str(given.resume))
        timesteps -= int(re.findall(r"\d+", given.resume.stem)[0])
    trainer = SequentialTrainer(cfg={"timesteps": timesteps, "headless": True}, env=env, agents=agent)
    trainer.train()
    probe.end({f"{name}.{key}": each for name, model in models.items() for key, each in model.state_dict().items()})


if __name__ == "__main__":
    watch()
    main()
