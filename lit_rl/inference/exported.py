"""A policy as one network from raw observations to the environment's actions: what is traced and exported.

Shapes: N observations, A action dimensions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor, nn

from lit_rl.envs.images import channels_first, is_image
from lit_rl.envs.masks import METHOD, choices
from lit_rl.envs.normalize import Moments
from lit_rl.envs.spaces import SEPARATOR, own_key, plain_key
from lit_rl.errors import ConfigError
from lit_rl.inference.agent import Agent
from lit_rl.networks.actor_critic import ActorCritic, with_mask
from lit_rl.state.parts import union


class Exported(nn.Module):
    """The most likely actions, [N, ...], for raw observations [N, ...]: one tensor for each part, as `inputs` says.

    Args:
        agent: whose policy it shares, and changes nothing of.

    Raises:
        ConfigError: the policy is none of stable-baselines3's.
    """

    def __init__(self, agent: Agent) -> None:
        super().__init__()
        module = agent.module
        if not isinstance(module.policy, BasePolicy):
            raise ConfigError(
                f"export: {agent.algorithm} has no policy of stable-baselines3's kind, which this writes."
            )
        if "memory" in union(type(module), "PARTS"):
            raise ConfigError(
                f"export: {agent.algorithm} remembers its episode, which no network of observations alone does; "
                "write it with --format sb3, or open it with lit_rl.load."
            )
        self.policy = module.policy
        self._seen, self._taken, self._own = module.observation_space, module.action_space, agent.action_space
        self.inputs = dict(_parts(agent.observation_space))
        """The space of every input by its name; `observation` where it is no Dict."""
        self._names = [plain_key(key) for key in self.inputs]
        config = module.normalizer.config
        self._epsilon, self._clip = config.epsilon, config.clip_obs
        self.mean, self.scale = nn.ParameterDict(), nn.ParameterDict()
        for key, moments in module.normalizer.obs.items():
            assert isinstance(moments, Moments)
            self.mean[key] = nn.Parameter(moments.mean.clone(), requires_grad=False)
            self.scale[key] = nn.Parameter(torch.sqrt(moments.var + self._epsilon), requires_grad=False)
        self._whole = not isinstance(self._seen, spaces.Dict)
        self._masked: ActorCritic | None = None
        if module.env_config.action_masks:
            self._masked = ActorCritic(module.policy, masked=True)  # type: ignore[arg-type]
            flag: Any = spaces.MultiBinary(sum(choices(self._taken)))
            self.inputs[METHOD if METHOD not in self.inputs else f"{METHOD}_"] = flag

    def forward(self, *observation: Tensor) -> Tensor:
        mask = observation[-1] if self._masked is not None else None
        parts = zip(self._names, self.inputs.values(), observation[: len(self._names)], strict=False)
        if self._whole:
            ((_, space, value),) = parts
            obs: Any = self._policy_obs("obs", value, space, self._seen)
        else:
            assert isinstance(self._seen, spaces.Dict)
            obs = {name: self._policy_obs(name, value, space, self._seen[name]) for name, space, value in parts}
        actions: Tensor
        if self._masked is None:
            actions = self.policy._predict(obs, deterministic=True)
        else:
            actions = self._masked.distribution.mode(self._masked.actor(with_mask(obs, mask))[0])
        return self._environments(actions.detach())  # whoever calls it needs no torch.no_grad

    def _policy_obs(self, key: str, value: Tensor, own: spaces.Space[Any], seen: spaces.Space[Any]) -> Tensor:
        """One part as the policy sees it."""
        if isinstance(own, spaces.Discrete):
            value = value - int(own.start)
        elif isinstance(own, spaces.MultiDiscrete):
            value = (value - torch.as_tensor(own.start)).flatten(1)
        elif is_image(seen) and channels_first(seen) and own.shape != seen.shape:
            value = value.permute(0, 3, 1, 2)
        elif not own.shape:
            value = value[:, None]
        if key in self.mean:
            scaled: Tensor = (value.double() - self.mean[key]) / self.scale[key]
            return scaled.clamp(-self._clip, self._clip).float()
        return value.float() if value.dtype == torch.float64 else value

    def _environments(self, actions: Tensor) -> Tensor:
        """Actions as the environment takes them."""
        taken, own = self._taken, self._own
        if isinstance(taken, spaces.Box):
            low, high = torch.as_tensor(taken.low), torch.as_tensor(taken.high)
            actions = actions.reshape(-1, *taken.shape)
            if self.policy.squash_output:
                actions = low + 0.5 * (actions + 1.0) * (high - low)
            actions = torch.minimum(torch.maximum(actions, low), high)
            if np.dtype(own.dtype).kind in "biu":
                actions = actions.round()
            shaped: Tensor = actions.reshape(-1, *(own.shape or ())).to(_torch_dtype(own))
            return shaped
        actions = actions.reshape(-1, *(own.shape or ()))
        if isinstance(own, spaces.Discrete | spaces.MultiDiscrete):
            return actions.to(torch.int64) + torch.as_tensor(own.start)
        return actions.to(_torch_dtype(own))


def _torch_dtype(space: spaces.Space[Any]) -> torch.dtype:
    return torch.from_numpy(np.zeros(0, space.dtype)).dtype


def _parts(space: spaces.Space[Any], path: str = "") -> list[tuple[str, spaces.Space[Any]]]:
    if not isinstance(space, spaces.Dict):
        return [(path or "observation", space)]
    found: list[tuple[str, spaces.Space[Any]]] = []
    for key, part in space.spaces.items():
        name = own_key(plain_key(key))
        found += _parts(part, f"{path}{SEPARATOR}{name}" if path else name)
    return found


def inputs_of(network: Exported, observation: Any, masks: np.ndarray | None = None) -> list[np.ndarray]:
    """A batch of raw observations, and of masks where there are some, as the network's inputs: in their order and
    types."""

    def part(key: str) -> Any:
        value = observation
        for name in key.split(SEPARATOR) if isinstance(observation, dict) else ():
            value = value[name]
        return value

    shown = list(network.inputs.items())[: None if masks is None else -1]
    inputs = [np.asarray(part(key), dtype=space.dtype) for key, space in shown]
    return inputs if masks is None else [*inputs, masks]
