"""Candidates that act side by side, each in an environment of its own.

Plain perceptrons are computed in NumPy, all candidates in one product a layer: between two steps of environments torch
takes longer around an operation than for it. Others act one after the other, in torch.

Shapes: N environments, P numbers of a candidate's weights, I inputs and O outputs of a layer.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.ars.policies import ARSLinearPolicy, ARSPolicy
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import nn

from lit_rl.networks.activations import IDENTITY, InPlace, activation_of
from lit_rl.networks.actor_critic import as_tensor, to_env

_ALIGN = 16
"""Numbers, 64 bytes: where each candidate's weights begin, so that a product has the same bits for each."""


@dataclass
class _Layer:
    """One layer of all candidates; the arrays are views of memory that torch allocated."""

    weights_NIO: np.ndarray
    biases_NO: np.ndarray | None
    outputs_N1O: np.ndarray
    activation: InPlace


class Population:
    """See above.

    Args:
        policy: what candidates are of; its own weights are left as they are.
        n: environments.
    """

    def __init__(self, policy: ARSPolicy, n: int) -> None:
        self._policy = policy
        layers = _layers(policy.action_net) if type(policy) in (ARSPolicy, ARSLinearPolicy) else None
        self._layers = None if layers is None else [_allocate(n, *each) for each in layers]
        self._one = copy.deepcopy(policy).cpu().eval()
        self._candidates: list[np.ndarray | None] = [None] * n
        space = policy.observation_space
        flat = type(policy.features_extractor) is FlattenExtractor and isinstance(space, spaces.Box)
        self._flattens = flat and not is_image_space(space)
        if self._layers is not None:
            self._inputs_N1I = _aligned(n, int(policy.features_dim))[:, None, :]

    def put(self, row: int, weights_P: np.ndarray) -> None:
        """Let a candidate act in an environment from here on."""
        if self._layers is None:
            self._candidates[row] = weights_P
            return
        begin = 0
        for layer in self._layers:
            inputs, outputs = layer.weights_NIO.shape[1:]
            size = inputs * outputs
            layer.weights_NIO[row] = weights_P[begin : begin + size].reshape(outputs, inputs).T
            begin += size
            if layer.biases_NO is not None:
                layer.biases_NO[row] = weights_P[begin : begin + outputs]
                begin += outputs

    def actions(self, policy_obs: np.ndarray) -> np.ndarray:
        """Actions [N, ...] as the environments take them, for observations as the policy sees them."""
        head = self._one_by_one(policy_obs) if self._layers is None else self._at_once(policy_obs, self._layers)
        if isinstance(self._policy.action_space, spaces.Discrete):
            chosen: np.ndarray = head if head.ndim == 1 else head.argmax(axis=1)
            return chosen
        taken: np.ndarray = to_env(head, self._policy)  # type: ignore[arg-type]
        return taken

    def _at_once(self, policy_obs: np.ndarray, layers: list[_Layer]) -> np.ndarray:
        x = self._inputs_N1I
        x[:, 0, :] = policy_obs.reshape(len(policy_obs), -1) if self._flattens else self._features(policy_obs)
        for layer in layers:
            x = np.matmul(x, layer.weights_NIO, out=layer.outputs_N1O)
            if layer.biases_NO is not None:
                x[:, 0, :] += layer.biases_NO
            layer.activation(x)
        head: np.ndarray = x[:, 0, :]
        return head

    @torch.no_grad()
    def _features(self, policy_obs: np.ndarray) -> np.ndarray:
        one: Any = self._one
        features: np.ndarray = one.extract_features(as_tensor(policy_obs, one.device), one.features_extractor).numpy()
        return features

    @torch.no_grad()
    def _one_by_one(self, policy_obs: np.ndarray) -> np.ndarray:
        found = []
        for row, weights in enumerate(self._candidates):
            if weights is not None:
                self._one.load_from_vector(weights)
            found.append(self._one(as_tensor(policy_obs[row : row + 1], self._one.device)))
        heads: np.ndarray = torch.cat(found).numpy()
        return heads


def _layers(net: nn.Sequential) -> list[tuple[nn.Linear, InPlace]] | None:
    """Linear layers and what comes behind each; `None` for anything else."""
    found: list[tuple[nn.Linear, InPlace]] = []
    for module in net:
        activation = activation_of(module)
        if type(module) is nn.Linear:
            assert IDENTITY.numpy is not None
            found.append((module, IDENTITY.numpy))
        elif activation is not None and activation.numpy is not None and found:
            found[-1] = (found[-1][0], activation.numpy)
        else:
            return None
    return found


def _allocate(n: int, linear: nn.Linear, activation: InPlace) -> _Layer:
    weights = _aligned(n, linear.in_features * linear.out_features)
    return _Layer(
        weights.reshape(n, linear.in_features, linear.out_features),
        None if linear.bias is None else _aligned(n, linear.out_features),
        _aligned(n, linear.out_features)[:, None, :],
        activation,
    )


def _aligned(n: int, size: int) -> np.ndarray:
    """Zeros [n, size], each of whose rows begins where memory is aligned."""
    rows: np.ndarray = torch.zeros(n, -(-size // _ALIGN) * _ALIGN).numpy()
    return rows[:, :size]
