"""What an algorithm with stored, raw transitions needs of the normaliser, against VecNormalize's own methods."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecNormalize, VecTransposeImage

from lit_rl.envs.config import EnvConfig, NormalizeConfig
from lit_rl.envs.normalize import Normalizer
from tests.helpers import envs
from tests.helpers.vector import actions_of, as_bytes, sb3_vector, sync

N, STEPS = 3, 60
BOX = spaces.Box(-10.0, 10.0, (2,), np.float32)


def rewards_and_ends(n: int = N, seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(1.0, 3.0, size=(STEPS, n)), rng.random((STEPS, n)) < 0.2


def scaling(gather: Any = None, n: int = N, **settings: Any) -> Normalizer:
    return Normalizer(NormalizeConfig(reward=True, **settings), BOX, 0.9, n, gather)


def fed_by_hand(**settings: Any) -> tuple[VecNormalize, dict[str, Any]]:
    """A VecNormalize whose environments send what is put into the dictionary: SB3's own would round to float32."""
    theirs = VecNormalize(sb3_vector(envs.Walk, N), gamma=0.9, norm_obs=False, **settings)
    sent: dict[str, Any] = {}
    theirs.venv.step_wait = lambda: (np.zeros((N, 2), np.float32), sent["reward"], sent["done"], [{}] * N)
    theirs.reset()
    return theirs, sent


def test_rewards_of_each_step_are_folded_in_as_vec_normalize_does() -> None:
    (theirs, sent), ours = fed_by_hand(), scaling()
    for reward, done in zip(*rewards_and_ends(), strict=True):
        sent |= {"reward": reward.copy(), "done": done}
        theirs.step_wait()
        ours.update_rewards(reward, done)
        assert ours.reward is not None
        np.testing.assert_array_equal(ours.returns, theirs.returns)
        np.testing.assert_allclose(ours.reward.mean.numpy(), theirs.ret_rms.mean, rtol=1e-12)
        np.testing.assert_allclose(ours.reward.var.numpy(), theirs.ret_rms.var, rtol=1e-12)
        assert float(ours.reward.count) == theirs.ret_rms.count


@pytest.mark.parametrize("shape", [(), (1,), (7,), (64, 1), (4, 5, 2)])
@pytest.mark.parametrize("settings", [{}, {"clip_reward": 0.3}, {"epsilon": 0.5}])
def test_stored_rewards_are_normalised_as_vec_normalize_does(shape: tuple[int, ...], settings: dict[str, Any]) -> None:
    (theirs, sent), ours = fed_by_hand(**settings), scaling(**settings)
    stored = np.random.default_rng(6).normal(size=shape) * 20.0
    seen = []
    for reward, done in zip(*rewards_and_ends(), strict=True):
        sent |= {"reward": reward.copy(), "done": done}
        theirs.step_wait()
        ours.update_rewards(reward, done)
        before = ours.state_dict()["reward.var"].clone()
        scaled = ours.normalize_rewards(np.asarray(stored))
        assert np.shape(scaled) == shape
        np.testing.assert_allclose(scaled, theirs.normalize_reward(np.asarray(stored)), rtol=1e-6)
        assert torch.equal(before, ours.state_dict()["reward.var"]), "looking at stored rewards teaches nothing"
        seen.append(as_bytes(scaled))
    if not settings.get("clip_reward"):
        assert len(set(seen)) > STEPS // 2, "it is the deviation of now that counts"  # the first may all be clipped
    assert np.abs(scaled).max() <= settings.get("clip_reward", 10.0)


def test_step_by_step_leaves_the_moments_that_a_whole_rollout_leaves() -> None:
    one_by_one, at_once = scaling(), scaling()
    reward, done = rewards_and_ends()
    for part in (slice(0, 25), slice(25, STEPS)):  # the second rollout begins in mid-episode
        at_once.scale_rewards(reward[part], done[part])
        for t in range(*part.indices(STEPS)):
            one_by_one.update_rewards(reward[t], done[t])
        np.testing.assert_array_equal(one_by_one.returns, at_once.returns)
        for name, moment in at_once.state_dict().items():
            np.testing.assert_allclose(one_by_one.state_dict()[name], moment, rtol=1e-12, err_msg=name)


def test_a_rollouts_last_rewards_are_scaled_as_stored_ones() -> None:
    """Where the rollout is one step long, its deviation then is that of now."""
    stored, rollout = scaling(), scaling()
    for reward, done in zip(*rewards_and_ends(), strict=True):
        stored.update_rewards(reward, done)
        np.testing.assert_allclose(
            stored.normalize_rewards(reward), rollout.scale_rewards(reward[None], done[None])[0], rtol=1e-12
        )


def test_ranks_keep_the_moments_of_one_process_to_the_bit() -> None:
    """Environments 0 and 1 are on rank 0, 2 to 4 on rank 1; rows are gathered in the order of ranks."""
    reward, done = rewards_and_ends(5)
    one = scaling(n=5)
    whole: dict[str, np.ndarray] = {}

    def gather_as(rank: int) -> Any:
        def gather(own: np.ndarray) -> np.ndarray:
            np.testing.assert_array_equal(own, np.split(whole["now"], [2])[rank])
            return whole["now"]

        return gather

    first, second = scaling(gather_as(0), 2), scaling(gather_as(1), 3)
    for t in range(STEPS):
        whole["now"] = one.returns * 0.9 + reward[t]
        one.update_rewards(reward[t], done[t])
        first.update_rewards(reward[t, :2], done[t, :2])
        second.update_rewards(reward[t, 2:], done[t, 2:])
        np.testing.assert_array_equal(np.concatenate([first.returns, second.returns]), one.returns)
        for name, moment in one.state_dict().items():
            assert torch.equal(first.state_dict()[name], moment), name
            assert torch.equal(second.state_dict()[name], moment), name


def test_without_normalised_rewards_nothing_happens_to_them() -> None:
    normalizer = Normalizer(NormalizeConfig(obs=True), BOX, 0.9, 2)
    reward = np.array([3.0, -400.0])
    normalizer.update_rewards(reward, np.array([False, True]))
    assert normalizer.normalize_rewards(reward) is reward
    assert normalizer.returns.tolist() == [0.0, 0.0]


def test_rewards_that_are_given_are_not_changed() -> None:
    normalizer, (reward, _) = scaling(), rewards_and_ends()
    before = reward.copy()
    normalizer.update_rewards(reward[0], np.array([True, False, True]))
    normalizer.normalize_rewards(reward)
    np.testing.assert_array_equal(reward, before)


@pytest.mark.parametrize("name", ["BoxWalk", "DictWalk"])
def test_stored_observations_of_any_number_are_normalised_as_vec_normalize_does(name: str) -> None:
    """A single one, none, one, more than there are environments, and a rollout of [T, N, ...]."""
    keys = ["vector"] if name == "DictWalk" else None
    ours = sync(EnvConfig(class_path=envs.PATH + name, n_envs=N, max_episode_steps=6))
    normalizer = Normalizer(NormalizeConfig(obs=True, keys=keys, clip_obs=1.5), ours.observation_space, 0.9, N)
    theirs = sb3_vector(getattr(envs, name), N, 6)
    if name == "DictWalk":
        theirs = VecTransposeImage(theirs)
    theirs = VecNormalize(theirs, norm_reward=False, clip_obs=1.5, norm_obs_keys=keys)
    normalizer.update_obs(ours.reset())
    theirs.reset()
    for action in actions_of(ours.action_space, N, 30):
        normalizer.update_obs(ours.step(action).obs)
        theirs.step(action)
    space, rng = ours.observation_space, np.random.default_rng(7)

    def stored(*shape: int) -> Any:
        def of(part: spaces.Space[Any]) -> np.ndarray:
            return rng.normal(0.0, 3.0, size=(*shape, *(part.shape or ()))).astype(part.dtype)

        return {key: of(part) for key, part in space.items()} if isinstance(space, spaces.Dict) else of(space)

    for shape in ((), (0,), (1,), (N,), (50,), (4, N)):
        batch = stored(*shape)
        before = as_bytes(batch)
        seen = normalizer.normalize_obs(batch)
        expected = theirs.normalize_obs(batch)
        assert as_bytes(batch) == before
        for key in seen if keys else ["obs"]:
            mine, other = (seen[key], expected[key]) if keys else (seen, expected)
            assert mine.dtype == other.dtype
            assert mine.shape == other.shape
            np.testing.assert_allclose(mine, other, rtol=2e-5, atol=2e-6)
            if keys and key not in keys:
                assert mine is batch[key], "what is not normalised is passed on as it is"
