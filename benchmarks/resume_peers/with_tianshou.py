"""PPO with tianshou 2: `save_checkpoint_fn`, `resume_from_log`, and states loaded before the trainer is made.

https://github.com/thu-ml/tianshou/blob/master/test/discrete/test_c51.py (`resume`) and TrainerParams' documentation:
the checkpoint holds the algorithm's state_dict, with its optimizer's; counters come from TensorBoard's log.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import probe
import torch
from tianshou.algorithm import PPO
from tianshou.algorithm.modelfree.reinforce import ProbabilisticActorPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory, LRSchedulerFactoryLinear
from tianshou.data import Collector, CollectStats, VectorReplayBuffer
from tianshou.env import DummyVectorEnv, VectorEnvNormObs
from tianshou.trainer import OnPolicyTrainer, OnPolicyTrainerParams
from tianshou.utils import TensorboardLogger
from tianshou.utils.net.common import Net
from tianshou.utils.net.discrete import DiscreteActor, DiscreteCritic
from torch.utils.tensorboard import SummaryWriter


def watch(algorithm: PPO, envs: VectorEnvNormObs, trainer: OnPolicyTrainer) -> None:
    reset, update = trainer.reset, algorithm.update

    def mean() -> Any:
        return envs.get_obs_rms().mean

    def watched_reset(*args: Any, **kwargs: Any) -> None:
        before = mean()
        reset(*args, **kwargs)
        probe.begin(trainer._env_step, before if np.size(before) > 1 else mean(), trainer._env_episode)

    def watched_update(buffer: Any, **kwargs: Any) -> Any:
        first = buffer[list(buffer._offset)]  # the oldest transition of each environment
        rate = algorithm.optim._optim.param_groups[0]["lr"]
        probe.update(trainer._env_step + probe.ROLLOUT, rate, first.obs, first.act, mean())
        return update(buffer, **kwargs)

    trainer.reset, algorithm.update = watched_reset, watched_update


def main() -> None:
    given = probe.arguments()
    np.random.seed(probe.SEED)  # noqa: NPY002
    torch.manual_seed(probe.SEED)
    envs = VectorEnvNormObs(DummyVectorEnv([lambda: gymnasium.make(probe.ENV) for _ in range(probe.N_ENVS)]))
    envs.seed(probe.SEED)
    epochs, sizes = given.timesteps // given.save_every, [64, 64]
    actor = DiscreteActor(preprocess_net=Net(state_shape=4, hidden_sizes=sizes), action_shape=2)
    critic = DiscreteCritic(preprocess_net=Net(state_shape=4, hidden_sizes=sizes))
    policy = ProbabilisticActorPolicy(
        actor=actor,
        dist_fn=torch.distributions.Categorical,
        action_space=gymnasium.make(probe.ENV).action_space,
        action_scaling=False,
    )
    optim = AdamOptimizerFactory(lr=probe.LEARNING_RATE).with_lr_scheduler_factory(
        LRSchedulerFactoryLinear(epochs, given.save_every, probe.ROLLOUT)
    )
    algorithm = PPO(policy=policy, critic=critic, optim=optim)
    if given.resume is not None:
        checkpoint = torch.load(given.resume, weights_only=False)
        algorithm.load_state_dict(checkpoint["model"])
        envs.set_obs_rms(checkpoint["obs_rms"])

    def save(epoch: int, env_step: int, gradient_step: int) -> str:
        path = given.dir / f"checkpoint_{epoch}.pth"
        torch.save({"model": algorithm.state_dict(), "obs_rms": envs.get_obs_rms()}, path)
        return str(path)

    collector = Collector[CollectStats](
        algorithm, envs, VectorReplayBuffer(probe.ROLLOUT, probe.N_ENVS), raise_on_nan_in_buffer=False
    )
    trainer = OnPolicyTrainer(algorithm, OnPolicyTrainerParams(
        training_collector=collector, max_epochs=epochs, epoch_num_steps=given.save_every,
        collection_step_num_env_steps=probe.ROLLOUT, update_step_num_repetitions=probe.EPOCHS, batch_size=probe.BATCH,
        save_checkpoint_fn=save, resume_from_log=given.resume is not None,
        logger=TensorboardLogger(SummaryWriter(str(given.dir)), save_interval=1), show_progress=False,
    ))  # fmt: skip
    watch(algorithm, envs, trainer)
    trainer.run()
    probe.end(policy.state_dict() | {f"critic.{name}": each for name, each in critic.state_dict().items()})


if __name__ == "__main__":
    main()
