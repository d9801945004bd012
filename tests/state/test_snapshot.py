"""What an iteration that fails leaves behind is put back whole: weights, optimizers of any kind, and the parts."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from torch import nn

from lit_rl.state.plain import first_difference
from lit_rl.state.records import Counters
from lit_rl.state.snapshot import Snapshot


class CountsInPython(torch.optim.SGD):
    """Keeps a count and a list in Python beside tensors, one of which is another object after every step."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                state["count"] = state.get("count", 0) + 1
                state.setdefault("seen", []).append(state["count"])
                state["sum"] = state.get("sum", torch.zeros_like(parameter)) + parameter.grad
                parameter.add_(state["sum"], alpha=-group["lr"] / state["count"])


def stepped(network: nn.Module, optimizer: torch.optim.Optimizer, times: int = 1) -> None:
    for _ in range(times):
        optimizer.zero_grad()
        network(torch.ones(3, 4)).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.RMSprop, RMSpropTFLike, CountsInPython])
def test_everything_is_put_back(kind: Any, steps: int) -> None:
    torch.manual_seed(0)
    network = nn.Linear(4, 2)
    optimizer, counters = kind(network.parameters(), lr=0.1), Counters()
    stepped(network, optimizer, steps)
    before = copy.deepcopy((network.state_dict(), optimizer.state_dict(), counters.state_dict()))
    snapshot = Snapshot(network, [optimizer], {"counters": counters})
    snapshot.take({})
    for _ in range(2):  # and again, from what was put back
        stepped(network, optimizer, 3)
        optimizer.param_groups[0]["lr"] = 0.7
        counters.timesteps += 5
        snapshot.put_back()
        after = (network.state_dict(), optimizer.state_dict(), counters.state_dict())
        assert first_difference(list(before), list(after)) is None
        snapshot.take({})
    stepped(network, optimizer)
    twin = nn.Linear(4, 2)
    twin.load_state_dict(before[0])
    other = kind(twin.parameters(), lr=0.1)
    other.load_state_dict(copy.deepcopy(before[1]))
    stepped(twin, other)
    assert torch.equal(network.weight, twin.weight)
