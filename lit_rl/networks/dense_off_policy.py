"""The networks of `critics` as plain perceptrons, with the backward pass written by hand.

Each has what `Outputs`, `Critics` or `SquashedActor` has. Shapes: B a batch, A action dimensions, K critics.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.sac import policies as sac
from torch import Tensor, nn

from lit_rl.networks.actor_critic import as_tensor
from lit_rl.networks.dense import Dense, Spec, layers_of, parameters_of_layers, same_shapes
from lit_rl.networks.flat import Flat
from lit_rl.networks.quick import Quick
from lit_rl.ops.squashed import squashed_log_prob, squashed_sample, squashed_slope

_MANY, _FEW = 128, 8
"""Rows of a batch, and of the part of it that counts for a critic, from which on only that part is computed."""
_NOT_FLAT = "they take no flat observations, or change them"
_NOT_PLAIN = "they have layers other than linear ones and the usual activations"


def refused(network: Any, cls: type[nn.Module], plain: Iterable[Sequence[Spec] | None]) -> str | None:
    """Why a network of stable-baselines3's is none for these classes, or `None`.

    Args:
        cls: it has to be of this very class.
        plain: what `layers_of` says of its parts.
    """
    if type(network) is not cls:
        return f"{type(network).__name__} is not stable-baselines3's {cls.__name__}"
    space = network.observation_space
    if not isinstance(space, spaces.Box) or is_image_space(space):
        return _NOT_FLAT
    if type(network.features_extractor) is not FlattenExtractor:
        return _NOT_FLAT
    layers = list(plain)
    if any(each is None for each in layers):
        return _NOT_PLAIN
    known = {id(each) for part in layers if part is not None for each in parameters_of_layers([part])}
    if not {id(each) for each in network.parameters()} <= known:
        return "they have parameters of their own"
    return None


def _features(obs: Tensor) -> Tensor:
    return obs.float().flatten(1)


class DenseOutputs:
    """`Outputs` of a network that is one perceptron, such as DQN's `QNetwork` or TD3's `Actor`."""

    def __init__(self, layers: Sequence[Spec]) -> None:
        self.flat = Flat(parameters_of_layers([layers]))
        self._net = Dense([layers], self.flat)
        self._quick: dict[int, Quick | None] = {}

    @classmethod
    def of(cls, network: Any, kind: type[nn.Module], layers: str) -> DenseOutputs | str:
        """It, or why a network is none for it.

        Args:
            network: that has its layers in the attribute `layers`.
            kind: the class it has to be of.
        """
        plain = layers_of([getattr(network, layers)]) if type(network) is kind else None
        return refused(network, kind, [plain]) or cls(plain or [])

    def forward(self, obs: Tensor) -> Tensor:
        return self._net.forward(_features(obs))[0]

    def infer(self, obs: Tensor) -> Tensor:
        return self._net.infer(_features(obs))

    def of_few(self, obs: np.ndarray) -> np.ndarray:
        if len(obs) not in self._quick:
            self._quick[len(obs)] = Quick.of(self._net, len(obs))
        quick = self._quick[len(obs)]
        return self.infer(as_tensor(obs, self.flat.values.device)).cpu().numpy() if quick is None else quick(obs)

    def backward(self, d_out: Tensor) -> None:
        self._net.backward(d_out.unsqueeze(0))
        self.flat.show_gradient()

    def follow(self, source: Any, tau: float) -> None:
        self.flat.move_towards(source.flat, tau)


class DenseCritics:
    """`Critics` of a `ContinuousCritic`, computed side by side."""

    def __init__(self, networks: Sequence[Sequence[Spec]], actions: int) -> None:
        self.flat = Flat(parameters_of_layers(networks))
        self._all, self._first = Dense(networks, self.flat), Dense(networks[:1], self.flat)
        self._judging, self._actions = self._all, actions

    @classmethod
    def of(cls, critic: Any, kind: type[nn.Module]) -> Self | str:
        """They, or why they are none for it; `kind` is the class it has to be of."""
        known: bool = type(critic) is kind
        networks = [layers_of([each]) for each in critic.q_networks] if known else []
        why = refused(critic, kind, networks)
        plain = [each for each in networks if each is not None]
        if why is not None or not same_shapes(*plain):
            return why or "critics differ"
        return cls(plain, int(torch.Size(critic.action_space.shape or ()).numel()))

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        return self._values(self._all.forward(torch.cat([_features(obs), action], dim=1)))

    infer = forward

    def backward(self, d_values: Tensor) -> None:
        self._all.backward(self._outputs(d_values))
        self.flat.show_gradient()

    def judge(self, obs: Tensor, action: Tensor, first: bool = False) -> Tensor:
        self._judging = self._first if first else self._all
        return self._values(self._judging.forward(torch.cat([_features(obs), action], dim=1)))

    def slope_of_actions(self, d_values: Tensor) -> Tensor:
        rows = self._judging.count > 1 and self._rows_that_count(d_values)
        if rows:
            return self._judging.slope_of_inputs(self._outputs(d_values), rows)[:, -self._actions :]
        d_inputs = self._judging.backward(self._outputs(d_values), inputs=True, weights=False)
        return d_inputs[:, :, -self._actions :].sum(dim=0)

    @staticmethod
    def _rows_that_count(d_values: Tensor) -> list[Tensor]:
        """For each critic, the rows whose value has a slope; none if that spares less than it costs.

        Where actions are worth the lowest value, each row has a slope to one critic. For few rows libraries have
        another routine, whose last bits differ; on a GPU the number of rows would have to be waited for.
        """
        if d_values.dim() != 2 or d_values.device.type != "cpu" or d_values.shape[1] < _MANY:
            return []
        rows = [each.nonzero().flatten() for each in d_values.unbind()]
        fewest, all_of_them = min(map(len, rows)), sum(map(len, rows))
        return rows if fewest >= _FEW and all_of_them < 1.5 * d_values.shape[1] else []

    def follow(self, source: Any, tau: float) -> None:
        self.flat.move_towards(source.flat, tau)

    @staticmethod
    def _values(outputs_KBO: Tensor) -> Tensor:
        return outputs_KBO.squeeze(2)

    @staticmethod
    def _outputs(values_KB: Tensor) -> Tensor:
        return values_KB.unsqueeze(2)


class DenseQuantileCritics(DenseCritics):
    """`QuantileCritics`, computed side by side."""

    @staticmethod
    def _values(outputs_KBO: Tensor) -> Tensor:
        return outputs_KBO

    @staticmethod
    def _outputs(values_KB: Tensor) -> Tensor:
        return values_KB  # [K, B, Q]


class DenseSquashedActor:
    """`SquashedActor` without gSDE: hidden layers, and means and log-deviations side by side on top of them."""

    sde = None

    def __init__(self, hidden: Sequence[Spec], heads: Sequence[Sequence[Spec]]) -> None:
        self.flat = Flat([*parameters_of_layers([hidden]), *parameters_of_layers(heads)])
        self._hidden, self._heads = Dense([hidden], self.flat), Dense(heads, self.flat)
        self._mean = Dense([[*hidden, *heads[0]]], self.flat)
        self.noise_shape = (heads[0][-1].linear.out_features,)
        self._kept: tuple[Tensor, ...] = ()

    @classmethod
    def of(cls, actor: Any, kind: type[nn.Module]) -> DenseSquashedActor | str:
        """It, or why an actor is none for it; `kind` is the class it has to be of."""
        if actor.use_sde:
            return "model.use_sde: true"
        modules: list[Any] = [actor.latent_pi, actor.mu, actor.log_std]
        parts = [layers_of([part]) for part in modules]
        why = refused(actor, kind, parts)
        hidden, *heads = (part for part in parts if part is not None) if why is None else ([], [])
        return why or cls(hidden, heads)

    def mode(self, obs: Tensor) -> Tensor:
        return torch.tanh(self._mean.infer(_features(obs)))

    def sample(self, obs: Tensor, noise: Tensor) -> Tensor:
        mean, log_std = self._parameters_of(obs)
        return squashed_sample(mean, log_std.clamp(sac.LOG_STD_MIN, sac.LOG_STD_MAX).exp(), noise)

    def infer(self, obs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = self._parameters_of(obs)
        log_std = log_std.clamp(sac.LOG_STD_MIN, sac.LOG_STD_MAX)
        action = squashed_sample(mean, log_std.exp(), noise)
        return action, squashed_log_prob(action, log_std, noise)[0]

    def forward(self, obs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        mean, raw = self._parameters_of(obs)
        log_std = raw.clamp(sac.LOG_STD_MIN, sac.LOG_STD_MAX)
        std = log_std.exp()
        action = squashed_sample(mean, std, noise)
        log_prob, rest = squashed_log_prob(action, log_std, noise)
        self._kept = action, rest, std, noise, log_std == raw
        return action, log_prob

    def backward(self, d_action_BA: Tensor, d_log_prob: float) -> None:
        action, rest, std, noise, within = self._kept
        d_mean, d_log_std = squashed_slope(action, rest, std, noise, d_action_BA, d_log_prob)
        d_latent = self._heads.backward(torch.stack([d_mean, d_log_std.mul_(within)]), inputs=True)
        self._hidden.backward(torch.add(*d_latent).unsqueeze(0))
        self.flat.show_gradient()

    def _parameters_of(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Means and log-deviations [B, A], the second not yet within its bounds."""
        mean, log_std = self._heads.forward(self._hidden.forward(_features(obs))[0]).unbind()
        return mean, log_std
