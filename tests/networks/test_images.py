"""Images with channels last in memory, for SB3's own CNN alone: the numbers are the same but for roundings."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticCnnPolicy
from stable_baselines3.common.torch_layers import NatureCNN

from lit_rl import PPO
from lit_rl.networks.actor_critic import ActorCritic
from tests.helpers import envs
from tests.helpers.on_policy import make

LAST = torch.channels_last


class OwnCNN(NatureCNN):
    """One of a user's, which may take memory in its usual order for granted."""


def cnn_policy(extractor=NatureCNN, shared=True, **settings):
    kwargs = {"features_extractor_class": extractor, "share_features_extractor": shared}
    env = {"class_path": envs.PATH + "Image", "max_episode_steps": 7, "n_envs": 2}
    return make(PPO, env, n_steps=8, batch_size=8, seed=1, policy="CnnPolicy", policy_kwargs=kwargs, **settings)


@pytest.mark.parametrize(("extractor", "last"), [(NatureCNN, True), (OwnCNN, False)])
def test_only_its_own_cnn_sees_channels_last(extractor, last):
    module = cnn_policy(extractor)
    seen = []
    cnn = module.policy.features_extractor.cnn
    cnn.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    rollout = module.collect()
    seen.clear()
    module.net.evaluate(rollout.obs, rollout.action)
    assert [each.is_contiguous(memory_format=LAST) for each in seen] == [last]


def test_gradients_are_the_same_and_lie_as_parameters_do():
    module = cnn_policy()
    rollout, net = module.collect(), module.net
    found = []
    for net.is_cnn in (True, False):
        module.policy.zero_grad()
        now = net.evaluate(rollout.obs, rollout.action)
        torch.autograd.backward([net._evaluated.log_prob.sum(), net._evaluated.value.sum()])
        found.append([now.log_prob, now.value, *(each.grad for each in module.policy.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
        assert one.stride() == other.stride()


@pytest.mark.parametrize(
    ("extractor", "shared", "again"), [(NatureCNN, True, 0), (NatureCNN, False, 16), (OwnCNN, True, 16)]
)
def test_values_come_from_what_the_cnn_saw_while_acting(extractor, shared, again):
    module = cnn_policy(extractor, shared)
    sizes = []
    of_values = module.policy.features_extractor if shared else module.policy.vf_features_extractor
    of_values.cnn.register_forward_hook(lambda _, inputs, output: sizes.append(len(output)))
    rollout = module.collect()
    acting, ends = [2] * 8, sizes[-2:]
    assert sizes[: len(acting)] == acting
    assert sizes[len(acting) : -2] == ([again] if again else [])
    assert ends == [2, 2]  # what the environments show now, and the two episodes that were cut off
    with torch.no_grad():
        now = module.net.evaluate(rollout.obs, rollout.action)
    torch.testing.assert_close(rollout.value, now.value, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(rollout.log_prob, now.log_prob, rtol=1e-4, atol=1e-5)


def policy_for(space, **settings):
    torch.manual_seed(1)
    return ActorCriticCnnPolicy(space, spaces.Discrete(3), lambda _: 1e-3, **settings)


WHOLE = spaces.Box(0, 255, (4, 36, 36), np.uint8)
GRID = spaces.Box(0, 1, (4, 36, 36), np.uint8)
REAL = spaces.Box(-1, 1, (4, 36, 36), np.float32)
ANY = {"features_extractor_kwargs": {"normalized_image": True}}


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    ("space", "settings"), [(WHOLE, {}), (GRID, ANY), (REAL, {**ANY, "normalize_images": False}), (REAL, ANY)]
)
def test_features_of_images_are_those_of_sb3(space, settings, shared):
    policy = policy_for(space, share_features_extractor=shared, **settings)
    space.seed(1)
    obs = torch.from_numpy(np.stack([space.sample() for _ in range(6)]))
    before = obs.clone()
    theirs = policy.extract_features(obs)
    for context in (torch.no_grad(), torch.enable_grad()):
        with context:
            found = ActorCritic(policy)._features(obs)
        for one, other in zip(found, theirs if isinstance(theirs, tuple) else (theirs, theirs), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert torch.equal(obs, before)


def test_masks_reach_what_is_made_of_features():
    net = ActorCritic(policy_for(WHOLE), masked=True)
    mask = torch.tensor([[True, False, True], [True, True, True], [False, False, True], [True, True, False]])
    obs = {"obs": torch.randint(0, 256, (4, 4, 36, 36), dtype=torch.uint8), "mask": mask}
    action = torch.tensor([2, 1, 2, 0])
    with torch.no_grad():
        room = net.room_for_features(1, 4)[0]
        net.actor(obs, room)
        whole, made = net.values_and_log_probs(obs, action), net.values_and_log_probs_of(room, obs, action)
    for one, other in zip(whole, made, strict=True):
        torch.testing.assert_close(one, other)
    assert made[1][2] == 0.0  # one action was allowed


def test_features_are_not_kept_where_they_are_not_those_of_values():
    net = ActorCritic(policy_for(WHOLE))
    assert net.room_for_features(8, 2).shape == (8, 2, 512)
    with torch.autocast("cpu"):
        assert net.room_for_features(8, 2) is None
    pieces = cnn_policy(deterministic_reduction=True, reduction_pieces=2)
    pieces.collect()
    assert pieces.storage.features is None
