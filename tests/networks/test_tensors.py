"""Which tensor is whose, for every policy class of stable-baselines3, its extractor shared or not."""

from __future__ import annotations

import gymnasium as gym
import pytest
import torch
from stable_baselines3.common.policies import (
    ActorCriticCnnPolicy,
    ActorCriticPolicy,
    MultiInputActorCriticPolicy,
)
from torch import nn

from lit_rl.networks.tensors import ACTOR_CRITIC, owners, part_of, within

IMAGE = gym.spaces.Box(0, 255, (3, 36, 36), "uint8")
SPACES = {
    ActorCriticPolicy: gym.spaces.Box(-1, 1, (3,)),
    ActorCriticCnnPolicy: IMAGE,
    MultiInputActorCriticPolicy: gym.spaces.Dict(image=IMAGE, vector=gym.spaces.Box(-1, 1, (3,))),
}


class Extra(ActorCriticPolicy):
    """A user's own, with a network of its own."""

    def _build(self, lr_schedule):
        super()._build(lr_schedule)
        self.curiosity = nn.Linear(3, 3)


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("cls", [*SPACES, Extra])
def test_policy_and_value(cls: type[ActorCriticPolicy], share: bool) -> None:
    space = SPACES.get(cls, SPACES[ActorCriticPolicy])
    action = gym.spaces.Box(-1, 1, (2,))
    policy = cls(space, action, lambda _: 1e-3, share_features_extractor=share)
    found = owners(policy.state_dict(), ACTOR_CRITIC)
    value = {name for name, each in found.items() if each.part == "value"}
    expected = {name for name in found if name.startswith(("value_net.", "mlp_extractor.value_net."))}
    own = {name for name in found if name.startswith("vf_features_extractor.")}
    assert value == (expected if share else expected | own)
    assert {each.part for each in found.values()} == {"policy", "value"}
    # the tensors of a part alone decide what it computes: change them, and nothing of the other part has changed
    before = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    for name, tensor in policy.state_dict().items():
        if found[name].part == "value" and found[name].twin is None:
            tensor += 1.0
    changed = {name for name, tensor in policy.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == value


def test_what_a_table_does_not_say_is_a_part_of_its_own() -> None:
    table = within("policy.", ACTOR_CRITIC)
    assert part_of("policy.log_std", table) == "policy"
    assert part_of("policy.value_net.weight", table) == "value"
    assert part_of("critic.0.weight", table) == "critic"
    assert part_of("critic.0.weight", {**table, "critic.": "value"}) == "value"


def test_twins_are_found_by_memory_and_not_by_value() -> None:
    one, other = nn.Linear(2, 2), nn.Linear(2, 2)
    other.load_state_dict(one.state_dict())
    both = nn.ModuleDict({"a": one, "b": one, "c": other})
    found = owners(both.state_dict(), {"a.": "first", "b.": "second", "c.": "third"})
    assert [(each.part, each.twin) for name, each in found.items() if "weight" in name] == [
        ("first", None), ("first", "a.weight"), ("third", None),
    ]  # fmt: skip
