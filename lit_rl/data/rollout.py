"""Storage of one on-policy rollout. Shapes: T time, N environments, B = T * N."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from lit_rl.ops.tree import leaves, tree_map

_TORCH_DTYPES: dict[np.dtype[Any], torch.dtype] = {
    np.dtype(np.uint8): torch.uint8,
    np.dtype(np.int8): torch.int64,
    np.dtype(np.int32): torch.int64,
    np.dtype(np.int64): torch.int64,
    np.dtype(np.bool_): torch.bool,
}


def torch_dtype(space: spaces.Space[Any]) -> torch.dtype:
    """How observations of `space` are stored: as they are where torch can, floats as float32."""
    return stored_dtype(np.dtype(space.dtype))


def stored_dtype(dtype: np.dtype[Any]) -> torch.dtype:
    """The same for observations of this type."""
    return _TORCH_DTYPES.get(dtype, torch.float32)


def batch_of(space: spaces.Space[Any], *lead: int) -> Any:
    """Zeroed tensors for observations of `space` with leading dimensions `lead`; a dictionary for Dict spaces."""
    if isinstance(space, spaces.Dict):
        return {key: batch_of(part, *lead) for key, part in space.spaces.items()}
    return torch.zeros((*lead, *(space.shape or ())), dtype=torch_dtype(space))


@dataclass
class Batch:
    """Transitions of one update, time-major and flat, on the learner's device."""

    obs: Any
    action: Tensor
    log_prob: Tensor
    value: Tensor
    advantage: Tensor
    ret: Tensor

    def __len__(self) -> int:
        return int(self.log_prob.shape[0])

    def minibatches(self, order: Tensor, size: int) -> Iterator[Batch]:
        """Minibatches of `size` in the given order [B]; the last may be smaller, as in SB3.

        The whole batch is put in order once, so that a minibatch is a slice.
        """
        parts = (self.obs, self.action, self.log_prob, self.value, self.advantage, self.ret)
        yield from map(
            Batch, *(_split(tree_map(lambda leaf: leaf.index_select(0, order), part), size) for part in parts)
        )

    def select(self, rows: Tensor) -> Batch:
        """The transitions of these rows, in memory of their own."""
        parts = (self.obs, self.action, self.log_prob, self.value, self.advantage, self.ret)
        return Batch(*(tree_map(lambda leaf: leaf.index_select(0, rows), part) for part in parts))


@dataclass
class Rollout(Batch):
    """This rank's transitions, and the few numbers of all ranks' that an update needs.

    Args:
        all_value, all_advantage, all_ret: [B] of all ranks, in the order (time, environment).
    """

    all_value: Tensor
    all_advantage: Tensor
    all_ret: Tensor


def _split(tree: Any, size: int) -> Iterable[Any]:
    """Pieces of `size` rows, one after the other."""
    if isinstance(tree, dict):
        return (
            dict(zip(tree, pieces, strict=True))
            for pieces in zip(*(_split(x, size) for x in tree.values()), strict=True)
        )
    pieces: tuple[Tensor, ...] = tree.split(size)
    return pieces


class RolloutStorage:
    """Preallocated arrays of one rollout.

    Observations and actions are torch tensors with NumPy views on the same memory (`*_np`): the environments write
    through the view, the policy reads the tensor, and nothing is copied between.
    """

    def __init__(
        self, n_steps: int, n_envs: int, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]
    ) -> None:
        self.obs = batch_of(observation_space, n_steps, n_envs)
        self.obs_np = tree_map(lambda leaf: leaf.numpy(), self.obs)
        discrete = isinstance(action_space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary)
        shape = () if isinstance(action_space, spaces.Discrete) else (int(np.prod(action_space.shape or ())),)
        self.action = torch.zeros((n_steps, n_envs, *shape), dtype=torch.int64 if discrete else torch.float32)
        self.action_np = self.action.numpy()
        self.log_prob = torch.zeros((n_steps, n_envs))
        self.reward = np.zeros((n_steps, n_envs), dtype=np.float32)
        self.done = np.zeros((n_steps, n_envs), dtype=np.bool_)
        self.features: Tensor | None = None
        """What networks made of the observations [T, N, F], where they leave it."""

    def flat_obs(self, rows: slice = slice(None)) -> Any:
        """All observations of some environments, [B, ...]; a view where it can be."""
        return tree_map(lambda leaf: leaf[:, rows].flatten(0, 1), self.obs)

    def flat_action(self, rows: slice = slice(None)) -> Tensor:
        """All actions of some environments, [B, ...]; a view where it can be."""
        return self.action[:, rows].flatten(0, 1)

    def nbytes(self) -> int:
        """Memory held, in bytes."""
        tensors = [*leaves(self.obs), self.action, *([] if self.features is None else [self.features])]
        total: int = sum(t.numel() * t.element_size() for t in tensors)
        return total + self.reward.nbytes + self.done.nbytes
