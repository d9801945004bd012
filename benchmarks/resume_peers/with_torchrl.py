"""PPO with torchrl's PPOTrainer, its Checkpoint with the global random state, and `load_from_file` to go on.

https://docs.pytorch.org/rl/0.14/reference/checkpoint.html (Checkpoint, GlobalRNGState, CheckpointRotation, "Trainer
integration").
"""

from __future__ import annotations

from typing import Any

import numpy as np
import probe
import torch
from tensordict.nn import TensorDictModule
from torchrl.checkpoint import Checkpoint, CheckpointRotation, GlobalRNGState
from torchrl.collectors import Collector
from torchrl.data import LazyTensorStorage, ReplayBuffer
from torchrl.data.replay_buffers.samplers import SamplerWithoutReplacement
from torchrl.envs import GymEnv, SerialEnv, TransformedEnv, VecNormV2
from torchrl.modules import MLP, ProbabilisticActor, ValueOperator
from torchrl.objectives import ClipPPOLoss
from torchrl.trainers.algorithms import PPOTrainer


def watch(trainer: PPOTrainer, optimizer: Any, norm: VecNormV2) -> None:
    train, steps = trainer.train, trainer.optim_steps

    def moments() -> Any:
        return None if norm._loc is None else np.asarray(norm._loc.flatten_keys()["observation"]).reshape(-1)

    def watched_train() -> None:
        probe.begin(trainer.collected_frames, moments())
        train()

    def watched_steps(batch: Any) -> None:
        first = batch[:, 0]
        rate = optimizer.param_groups[0]["lr"]
        probe.update(trainer.collected_frames, rate, first["observation"], first["action"], moments())
        steps(batch)

    trainer.train, trainer.optim_steps = watched_train, watched_steps


def main() -> None:
    given = probe.arguments()
    torch.manual_seed(probe.SEED)
    np.random.seed(probe.SEED)  # noqa: NPY002
    norm = VecNormV2(in_keys=["observation"])
    env = TransformedEnv(SerialEnv(probe.N_ENVS, lambda: GymEnv(probe.ENV, categorical_action_encoding=True)), norm)
    env.set_seed(probe.SEED)
    shape = {"num_cells": [64, 64], "activation_class": torch.nn.Tanh}
    actor = ProbabilisticActor(
        TensorDictModule(MLP(in_features=4, out_features=2, **shape), in_keys=["observation"], out_keys=["logits"]),
        in_keys=["logits"], distribution_class=torch.distributions.Categorical, return_log_prob=True,
    )  # fmt: skip
    critic = ValueOperator(MLP(in_features=4, out_features=1, **shape), in_keys=["observation"])
    loss = ClipPPOLoss(actor, critic, entropy_bonus=False)
    optimizer = torch.optim.Adam(loss.parameters(), lr=probe.LEARNING_RATE)
    collector = Collector(env, actor, frames_per_batch=probe.ROLLOUT, total_frames=given.timesteps)
    checkpoint = Checkpoint(rng=GlobalRNGState())
    trainer = PPOTrainer(
        collector=collector, total_frames=given.timesteps, frame_skip=1, loss_module=loss, optimizer=optimizer,
        optim_steps_per_batch=probe.ROLLOUT // probe.BATCH, num_epochs=probe.EPOCHS, clip_norm=0.5,
        replay_buffer=ReplayBuffer(
            storage=LazyTensorStorage(probe.ROLLOUT), sampler=SamplerWithoutReplacement(), batch_size=probe.BATCH
        ),
        lr_scheduler=torch.optim.lr_scheduler.LinearLR(
            optimizer, start_factor=1.0, end_factor=1e-3, total_iters=given.timesteps // probe.ROLLOUT
        ),
        checkpoint=checkpoint, checkpoint_rotation=CheckpointRotation(given.dir / "checkpoints", keep_last=50),
        save_trainer_interval=given.save_every - 1, progress_bar=False, enable_logging=False,
    )  # fmt: skip
    if given.resume is not None:
        trainer.load_from_file(given.resume)
    watch(trainer, optimizer, norm)
    trainer.train()
    probe.end({name: each.detach() for name, each in loss.named_parameters()})


if __name__ == "__main__":
    main()
