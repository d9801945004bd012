"""Updates of a dueling DQN beside an independent network in float64 that is told the same batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lit_rl import DQN
from tests.helpers import envs
from tests.helpers.off_policy import play
from tests.helpers.on_policy import make, weights

SETTINGS = {"learning_rate": 3e-2, "batch_size": 16, "buffer_size": 90, "learning_starts": 0, "seed": 3,
            "total_timesteps": 1000, "dueling": True, "policy_kwargs": {"net_arch": [12, 16]}}  # fmt: skip


class Reference(nn.Module):
    """Streams side by side in one layer, and the sum of value and centred advantages as one fixed matrix."""

    def __init__(self, ours: Any) -> None:
        super().__init__()
        head = ours.q_net
        self.own: dict[str, nn.Parameter] = {
            name: nn.Parameter(tensor.detach().double().clone()) for name, tensor in head.named_parameters()
        }
        actions = head.advantage[-1].out_features
        self.combine = torch.cat([torch.ones(actions, 1), torch.eye(actions) - 1.0 / actions], dim=1).double()

    def layer(self, name: str, x: Tensor) -> Tensor:
        return x @ self.own[f"{name}.weight"].T + self.own[f"{name}.bias"]

    def forward(self, obs: Tensor) -> Tensor:
        hidden = self.layer("shared.0", obs.double()).clamp(min=0.0)
        streams = [
            self.layer(f"{name}.2", self.layer(f"{name}.0", hidden).clamp(min=0.0)) for name in ("value", "advantage")
        ]
        return torch.cat(streams, dim=1) @ self.combine.T


@pytest.mark.parametrize("double_q", [False, True])
def test_updates_equal_those_of_an_independent_network(double_q: bool) -> None:
    where = {"class_path": envs.PATH + "Noisy", "n_envs": 3, "max_episode_steps": 9}
    ours = make(DQN, where, double_q=double_q, max_grad_norm=0.5, n_steps=2, **SETTINGS)
    play(ours, 6)
    policy: Any = ours.policy
    for parameter in policy.q_net_target.parameters():
        nn.init.normal_(parameter, std=0.5)
    network, target = Reference(policy.q_net), Reference(policy.q_net_target)
    optimizer = torch.optim.Adam(network.own.values(), lr=3e-2)
    before = weights(policy)
    for _ in range(8):
        batch = next(ours.batches(1))
        with torch.no_grad():
            best = (network if double_q else target)(batch.next_obs).argmax(dim=1)
            next_value = target(batch.next_obs)[np.arange(16), best]
        wanted = batch.reward.double() + batch.discount.double() * next_value
        error = (network(batch.obs)[np.arange(16), batch.action.long()] - wanted).abs()
        loss = torch.where(error < 1.0, 0.5 * error**2, error - 0.5).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.own.values(), 0.5)
        optimizer.step()
        assert ours.learn(1)["train/loss"] == pytest.approx(loss.item(), rel=1e-4)
    for name, parameter in network.own.items():
        now = policy.state_dict()[f"q_net.q_net.{name}"]
        torch.testing.assert_close(now.double(), parameter.detach(), atol=2e-5, rtol=0)
        assert not torch.equal(now, before[f"q_net.q_net.{name}"])
