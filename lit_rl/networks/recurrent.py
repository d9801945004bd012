"""sb3-contrib's recurrent actor-critic policies on the hot path: one step of many environments, or whole sequences.

Shapes: N environments, B transitions, S sequences of at most L steps, F features, H width of an LSTM, K numbers that
are remembered of an episode: hidden and cell state of each layer of each LSTM, side by side.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from torch import Tensor, nn

from lit_rl.networks.actor_critic import ActorCritic, allowed

State = tuple[Tensor, Tensor]
"""Hidden and cell state of an LSTM, [layers, N, H] each."""


class RecurrentActorCritic(ActorCritic):
    """`ActorCritic` of a policy with LSTMs. The critic has one of its own, or the actor's, or none, as the policy says.

    What it is given of many steps is a dictionary: `seen`, observations as for `ActorCritic`; `memory` [B, K], what was
    remembered before each; `start` [B], whether an episode starts with it; and `begin` [B], whether it does not follow
    the transition before it.
    """

    def __init__(self, policy: RecurrentActorCriticPolicy, masked: bool = False) -> None:
        super().__init__(policy, masked)
        lstms: list[Any] = [policy.lstm_actor, policy.lstm_critic]
        self._lstms: list[nn.LSTM] = [each for each in lstms if each is not None]
        self._shared, self._linear = policy.shared_lstm, cast(nn.Module | None, policy.critic)

    @property
    def remembered(self) -> int:
        """K."""
        return sum(2 * each.num_layers * each.hidden_size for each in self._lstms)

    def step(self, seen: Any, memory_NK: Tensor, start_N: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One step of N environments: head, latent [N, H'], values [N], and what is remembered after it [N, K]."""
        obs, mask = self.without_mask(seen)
        features = self._features(obs)
        states, after = self._states(memory_NK, start_N), []
        outputs = []
        for lstm, x, state in zip(self._lstms, features, states, strict=False):
            out, state = lstm(x.unsqueeze(0), state)
            outputs.append(out[0])
            after.append(state)
        head, latent = self._actor(outputs[0])
        return allowed(head, mask), latent, self._critic(self._for_critic(features[1], outputs)), _memory(after)

    def act(self, seen: Any, state: State, start_N: Tensor) -> tuple[Tensor, Tensor, State]:
        """Head and latent of one step, for whoever needs no values; and the actor's state after it."""
        obs, mask = self.without_mask(seen)
        out, after = self._lstms[0](self._features(obs)[0].unsqueeze(0), _kept(state, start_N))
        head, latent = self._actor(out[0])
        return allowed(head, mask), latent, after

    def value(self, seen: Any, memory_NK: Tensor, start_N: Tensor) -> Tensor:
        """Values [N] alone."""
        return self.step(seen, memory_NK, start_N)[2]

    def actor_critic(self, obs: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Head, latent and values of transitions whose sequences lie one after the other."""
        seen, mask = self.without_mask(obs["seen"])
        features = self._features(seen)
        begin = obs["begin"].clone()
        begin[0] = True
        first = begin.nonzero()[:, 0]
        row = torch.cumsum(begin, dim=0) - 1
        step = torch.arange(len(begin), device=begin.device) - first[row]
        states = self._states(obs["memory"][first], obs["start"][first])
        outputs = []
        for lstm, x, state in zip(self._lstms, features, states, strict=False):
            padded = x.new_zeros(int(step.max()) + 1, len(first), x.shape[1])
            padded[step, row] = x
            outputs.append(lstm(padded, state)[0][step, row])
        head, latent = self._actor(outputs[0])
        return allowed(head, mask), latent, self._critic(self._for_critic(features[1], outputs))

    def no_state(self, n: int) -> State:
        """The actor's at an episode's start, of n environments."""
        zeros = torch.zeros(n, self.remembered, device=self.policy.device)
        return self._split(zeros)[0]

    def _for_critic(self, features: Tensor, outputs: list[Tensor]) -> Tensor:
        if self._shared:
            return outputs[0].detach()
        if self._linear is not None:
            linear: Tensor = self._linear(features)
            return linear
        return outputs[1]

    def _states(self, memory_NK: Tensor, start_N: Tensor) -> list[State]:
        """Of each LSTM, nothing where an episode starts."""
        return self._split(memory_NK * (~start_N).unsqueeze(1))

    def _split(self, memory_NK: Tensor) -> list[State]:
        states, start = [], 0
        for lstm in self._lstms:
            size = lstm.num_layers * lstm.hidden_size
            parts = memory_NK[:, start : start + 2 * size].reshape(-1, 2, lstm.num_layers, lstm.hidden_size)
            hidden, cell = parts.permute(1, 2, 0, 3).contiguous()
            states.append((hidden, cell))
            start += 2 * size
        return states


def _kept(state: State, start_N: Tensor) -> State:
    keep = (~start_N).view(1, -1, 1)
    return state[0] * keep, state[1] * keep


def _memory(states: list[State]) -> Tensor:
    """States side by side, [N, K]."""
    return torch.cat([part.transpose(0, 1).flatten(1) for state in states for part in state], dim=1)
