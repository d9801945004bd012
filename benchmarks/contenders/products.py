"""A limit: the matrix products of a work's updates alone, forward and backward, in float32. Nothing is learned.

Activations, biases, losses, the optimizer and the rollout's own forward passes are left out.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch.nn.grad import conv2d_input, conv2d_weight

from contenders.clock import Clock
from contenders.works import Work

Products = list[Callable[[], Any]]
CONVOLUTIONS = ((4, 84, 32, 8, 4), (32, 20, 64, 4, 2), (64, 9, 64, 3, 1))
"""Channels, side of the image, channels of the output, side of the kernel, stride."""


def product(a: torch.Tensor, b: torch.Tensor) -> Callable[[], Any]:
    """The product of two matrices, into memory that is there."""
    return functools.partial(torch.mm, a, b, out=a @ b)


def dense(rows: int, sizes: list[int], weights: bool, inputs: bool, device: str) -> Products:
    """Of a perceptron: forward; where wanted the gradient of its `weights`, and that of its `inputs`.

    Gradients of inner layers are there where either is.
    """
    made: Products = []
    for i, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        x, w, g = (torch.randn(shape, device=device) for shape in ((rows, n_in), (n_in, n_out), (rows, n_out)))
        made.append(product(x, w))
        if weights:
            made.append(product(x.T, g))
        if inputs or (weights and i > 0):
            made.append(product(g, w.T))
    return made


def convolutions(rows: int, device: str) -> Products:
    made: Products = []
    for i, (n_in, side, n_out, kernel, stride) in enumerate(CONVOLUTIONS):
        x = torch.randn((rows, n_in, side, side), device=device)
        w = torch.randn((n_out, n_in, kernel, kernel), device=device)
        g = torch.randn_like(torch.conv2d(x, w, stride=stride))
        made.append(functools.partial(torch.conv2d, x, w, stride=stride))
        made.append(functools.partial(conv2d_weight, x, w.shape, g, stride))
        if i > 0:
            made.append(functools.partial(conv2d_input, x.shape, w, g, stride))
    return made


def of_gradient_step(work: Work, n_obs: int, n_actions: int, device: str) -> tuple[Products, Products]:
    """The products of a gradient step, and what every second one has beside them (TD3's actor)."""
    hidden, rows = list(work.net_arch), work.batch_size

    def net(n_in: int, n_out: int, weights: bool = False, inputs: bool = False) -> Products:
        return dense(rows, [n_in, *hidden, n_out], weights, inputs, device)

    if work.atari:
        below = convolutions(rows, device) + dense(rows, [3136, 512], True, True, device)
        return below + dense(rows, [512, n_actions + 1], True, True, device), []
    if not work.off_policy:
        return net(n_obs, n_actions, weights=True) + net(n_obs, 1, weights=True), []
    if work.algorithm == "DQN":
        return net(n_obs, n_actions) + net(n_obs, n_actions, weights=True), []
    n_both, heads = n_obs + n_actions, 2 * n_actions if work.algorithm == "SAC" else n_actions
    critics = net(n_obs, heads) + 2 * net(n_both, 1) + 2 * net(n_both, 1, weights=True)
    asked = 2 if work.algorithm == "SAC" else 1
    actor = net(n_obs, heads, weights=True) + asked * net(n_both, 1, inputs=True)
    return (critics + actor, []) if work.algorithm == "SAC" else (critics, actor)


def sizes(work: Work) -> tuple[int, int]:
    """Numbers of an observation, and of what chooses an action."""
    if work.atari:
        return 0, 6
    env = gym.make(work.env)
    space: Any = env.action_space
    n_actions = int(space.n) if isinstance(space, gym.spaces.Discrete) else int(np.prod(space.shape))
    return int(np.prod(env.observation_space.shape or ())), n_actions


@torch.no_grad()
def measure(work: Work, units: int, backend: str, accelerator: str) -> tuple[int, float]:
    clock = Clock(work, units)
    every, second = of_gradient_step(work, *sizes(work), accelerator)
    steps = 0
    for unit in range(clock.target // work.unit):
        for _ in range(work.gradient_steps):
            for compute in every if steps % 2 else every + second:
                compute()
            steps += 1
        if accelerator == "cuda":
            torch.cuda.synchronize()
        clock.tick((unit + 1) * work.unit)
    return clock.measured
