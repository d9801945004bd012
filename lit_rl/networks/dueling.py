"""Dueling networks in the place of stable-baselines3's Q-network."""

from __future__ import annotations

from collections.abc import Sequence

from stable_baselines3.common.torch_layers import create_mlp
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork
from torch import Tensor, nn

from lit_rl.errors import ConfigError


class DuelingHead(nn.Module):
    """Action values from the value of a state and the advantages of its actions (Wang et al. 2016, arXiv:1511.06581).

    ``q = v + a - mean(a)`` over the actions (equation 9). Layers are shared but for the last, which each of the two
    streams has of its own (as in section 4.1 there): with `net_arch` [256, 128] 256 units are
    shared and 128 are in each.

    Shapes: B a batch, F features, N actions.

    Args:
        features: F.
        actions: N.
        net_arch: units of the hidden layers; with none, both streams are linear in the features.
        activation_fn: between the layers.
    """

    def __init__(self, features: int, actions: int, net_arch: Sequence[int], activation_fn: type[nn.Module]) -> None:
        super().__init__()
        shared, own = [*net_arch[:-1]], [*net_arch[-1:]]
        width = shared[-1] if shared else features
        self.shared = nn.Sequential(*create_mlp(features, -1, shared, activation_fn))
        self.value = nn.Sequential(*create_mlp(width, 1, own, activation_fn))
        self.advantage = nn.Sequential(*create_mlp(width, actions, own, activation_fn))

    def forward(self, features_BF: Tensor) -> Tensor:
        """Action values [B, N]."""
        hidden = self.shared(features_BF)
        advantage_BN = self.advantage(hidden)
        q_BN: Tensor = self.value(hidden) + advantage_BN - advantage_BN.mean(dim=1, keepdim=True)
        return q_BN


def make_dueling(policy: DQNPolicy) -> None:
    """Give a policy's network and its target dueling heads with new weights, equal in both.

    Features extractor, `net_arch` and activation are the policy's. Weights are drawn from torch's global stream.

    Raises:
        ConfigError: the policy makes networks that are not stable-baselines3's.
    """
    for network in (policy.q_net, policy.q_net_target):
        if type(network) is not QNetwork:
            raise ConfigError(
                f"model.dueling: {type(policy).__name__} makes a {type(network).__name__} of its own in the place of "
                "stable-baselines3's QNetwork; use model.dueling: false, or MlpPolicy, CnnPolicy or MultiInputPolicy."
            )
        actions = int(network.action_space.n)
        head = DuelingHead(network.features_dim, actions, network.net_arch, network.activation_fn)
        network.q_net = head  # type: ignore[assignment]
    policy.q_net_target.load_state_dict(policy.q_net.state_dict())
    policy.q_net_target.set_training_mode(False)
