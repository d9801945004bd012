"""What of an optimizer's state goes on in one of another class or with other arguments."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, RMSprop

from lit_rl.state.optimizers import carried, name_of


def stepped(kind: Any, **arguments: Any) -> torch.optim.Optimizer:
    torch.manual_seed(0)
    network = nn.Linear(3, 2)
    optimizer: torch.optim.Optimizer = kind(network.parameters(), lr=0.1, **arguments)
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return optimizer


def fresh(kind: Any, **arguments: Any) -> torch.optim.Optimizer:
    torch.manual_seed(0)
    optimizer: torch.optim.Optimizer = kind(nn.Linear(3, 2).parameters(), lr=0.1, **arguments)
    return optimizer


CASES = [
    (Adam, {}, Adam, {"weight_decay": 0.1}, True, "another weight_decay; its moments are carried"),
    (Adam, {}, Adam, {"eps": 1e-3, "betas": (0.8, 0.9)}, True, "another betas, eps; its moments are carried"),
    (Adam, {}, Adam, {"amsgrad": True}, False, "another amsgrad, which needs moments that are not there"),
    (Adam, {}, RMSprop, {}, False, "RMSprop in the place of Adam; its moments begin anew"),
    (RMSprop, {}, RMSprop, {"centered": True}, False, "another centered, which needs moments"),
    (SGD, {"momentum": 0.9}, SGD, {"momentum": 0.5}, True, "another momentum; its moments are carried"),
]


@pytest.mark.parametrize(("was", "with_", "kind", "arguments", "kept", "said"), CASES)
@pytest.mark.parametrize("written_down", [True, False])
def test_what_fits_is_carried(was: Any, with_: Any, kind: Any, arguments: Any, kept: bool, said: str, written_down: bool) -> None:  # fmt: skip  # noqa: E501
    old, new = stepped(was, **with_), fresh(kind, **arguments)
    name = name_of(old) if written_down else None
    state, note = carried(old.state_dict(), name, new)
    assert note is not None
    assert said.replace("of Adam", "of Adam" if written_down else "of another") in note
    assert bool(state["state"]) is kept
    new.load_state_dict(state)
    for key, value in arguments.items():
        assert new.param_groups[0][key] == value
    for group in new.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.ones_like(parameter)
    new.step()


def test_the_same_optimizer_goes_on_as_it_is() -> None:
    old = stepped(Adam, eps=1e-5)
    state = old.state_dict()
    assert carried(state, name_of(old), fresh(Adam, eps=1e-5)) == (state, None)
