"""Dueling heads beside numbers worked by hand, and beside plain layers with the same weights folded in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.dqn.policies import CnnPolicy, DQNPolicy, QNetwork
from torch import Tensor, nn

from lit_rl.errors import ConfigError
from lit_rl.networks.dueling import DuelingHead, make_dueling

OBSERVATIONS = spaces.Box(-1.0, 1.0, (3,))


def policy_of(cls: type[DQNPolicy] = DQNPolicy, **kwargs: object) -> DQNPolicy:
    return cls(OBSERVATIONS, spaces.Discrete(4), lambda _: 1e-3, **kwargs)  # type: ignore[arg-type]


def test_three_actions_by_hand() -> None:
    head = DuelingHead(1, 3, [], nn.ReLU)
    with torch.no_grad():
        for stream, weight, bias in (("value", [2.0], [1.0]), ("advantage", [1.0, 2.0, 6.0], [0.0, 0.0, 3.0])):
            (linear,) = getattr(head, stream)
            linear.weight.copy_(torch.tensor(weight)[:, None])
            linear.bias.copy_(torch.tensor(bias))
    # at 1: v = 3, a = (1, 2, 9) of mean 4; at -2: v = -3, a = (-2, -4, -9) of mean -5
    assert head(torch.tensor([[1.0], [-2.0]])).tolist() == [[0.0, 1.0, 8.0], [0.0, -2.0, -7.0]]


@pytest.mark.parametrize(("net_arch", "shared"), [([], []), ([5], []), ([6, 5], [6]), ([7, 6, 5], [7, 6])])
def test_all_layers_but_the_last_are_shared(net_arch: list[int], shared: list[int]) -> None:
    head = DuelingHead(3, 4, net_arch, nn.Tanh)
    assert widths(head.shared) == shared
    assert widths(head.value) == [*net_arch[-1:], 1]
    assert widths(head.advantage) == [*net_arch[-1:], 4]
    assert sum(isinstance(layer, nn.Tanh) for layer in head.modules()) == len(shared) + 2 * bool(net_arch)


def widths(layers: nn.Module) -> list[int]:
    return [layer.out_features for layer in layers.modules() if isinstance(layer, nn.Linear)]


def test_it_equals_a_plain_network_with_both_streams_folded_into_one() -> None:
    torch.manual_seed(0)
    policy = policy_of(net_arch=[6, 5])
    make_dueling(policy)
    obs = torch.randn(8, 3)
    torch.testing.assert_close(policy.q_net(obs), folded(policy.q_net)(obs))


def folded(network: QNetwork) -> nn.Sequential:
    """Layers 3 -> 6 -> 5 + 5 -> 4: a network without streams whose weights say the same."""
    head: Any = network.q_net
    (one, _), (value, _, to_value), (advantage, _, to_advantage) = head.shared, head.value, head.advantage
    centred = torch.eye(4) - 0.25
    first, second, last = nn.Linear(3, 6), nn.Linear(6, 10), nn.Linear(10, 4)
    put(first, one.weight, one.bias)
    put(second, torch.cat([value.weight, advantage.weight]), torch.cat([value.bias, advantage.bias]))
    weight = torch.cat([to_value.weight.expand(4, 5), centred @ to_advantage.weight], dim=1)
    put(last, weight, to_value.bias + centred @ to_advantage.bias)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), last)


def put(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)


def test_the_target_begins_as_the_network_does() -> None:
    policy = policy_of()
    make_dueling(policy)
    ours, target = policy.q_net.state_dict(), policy.q_net_target.state_dict()
    assert ours.keys() == target.keys()
    assert all(torch.equal(tensor, target[name]) for name, tensor in ours.items())
    assert not any(tensor.data_ptr() == target[name].data_ptr() for name, tensor in ours.items())
    assert {"shared", "value", "advantage"} <= {name.split(".")[1] for name in ours}
    assert not policy.q_net_target.training


def test_images_share_their_extractor() -> None:
    seen = spaces.Box(0, 255, (1, 36, 36), dtype=np.uint8)
    policy = CnnPolicy(seen, spaces.Discrete(4), lambda _: 1e-3)
    make_dueling(policy)
    head: Any = policy.q_net.q_net
    assert widths(head.value) == [1]
    assert widths(head.advantage) == [4]
    assert policy.q_net(torch.zeros(2, 1, 36, 36)).shape == (2, 4)


class OwnNetwork(QNetwork):
    """Somebody's own, which may not even use `q_net`."""


class OwnPolicy(DQNPolicy):
    def make_q_net(self) -> QNetwork:
        return OwnNetwork(**self._update_features_extractor(self.net_args, features_extractor=None))


def test_networks_of_ones_own_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.dueling: OwnPolicy makes a OwnNetwork of its own"):
        make_dueling(policy_of(OwnPolicy))
