"""What is not finite stops the run before it touches moments, and says where it came from."""

import numpy as np
import pytest

from lit_rl.envs.config import EnvConfig
from lit_rl.envs.failures import EnvironmentFailed
from lit_rl.envs.guard import check_step
from lit_rl.envs.vector import StepResult
from tests.helpers import envs
from tests.helpers.ppo import make_ppo

N = 3


def step_result(**changes):
    values = {
        "obs": np.zeros((N, 2), np.float32),
        "reward": np.zeros(N),
        "terminated": np.zeros(N, bool),
        "truncated": np.zeros(N, bool),
        "finals": [],
        "episodes": [],
    }
    return StepResult(**{**values, **changes})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("what", ["obs", "reward"])
def test_environment_and_timestep_are_named(what, value):
    result = step_result()
    getattr(result, what)[1] = value
    words = {"obs": "an observation", "reward": "a reward"}[what]
    with pytest.raises(EnvironmentFailed, match=rf"environment 6 sent {words} .* timestep 120: .*(nan|inf)"):
        check_step(result, offset=5, timesteps=120)


def test_opposite_infinities_do_not_hide_each_other():
    obs = np.zeros((N, 2), np.float32)
    obs[2] = [np.inf, -np.inf]
    with pytest.raises(EnvironmentFailed, match="environment 2"):
        check_step(step_result(obs=obs), 0, 0)


def test_large_but_finite_numbers_pass():
    check_step(step_result(obs=np.full((N, 2), 3e38, np.float32), reward=np.full(N, 1e308)), 0, 0)


def test_a_part_of_a_dict_is_checked_and_integers_pass():
    obs = {"image": np.zeros((N, 4), np.uint8), "vector": np.zeros((N, 2))}
    check_step(step_result(obs=obs), 0, 0)
    obs["vector"][0, 1] = np.nan
    with pytest.raises(EnvironmentFailed, match="environment 0"):
        check_step(step_result(obs=obs), 0, 0)


def test_the_last_observation_counts_where_its_value_is_used():
    final = np.array([0.0, np.nan])
    result = step_result(finals=[(1, final)], truncated=np.array([False, True, False]))
    with pytest.raises(EnvironmentFailed, match="environment 1 sent a last observation"):
        check_step(result, 0, 0)
    result.terminated[1] = True
    check_step(result, 0, 0)


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"what": "obs"}, "an observation"),
        ({"what": "obs", "last": True}, "a last observation"),
        ({"what": "reward"}, "a reward"),
        ({"what": "reward", "value": float("-inf")}, "a reward"),
    ],
)
def test_moments_are_not_touched_by_the_step_that_is_refused(kwargs, words):
    config = EnvConfig(class_path=envs.PATH + "SendsBad", kwargs={"at": 2, **kwargs}, n_envs=2, normalize={"obs": True})
    config = EnvConfig.from_plain(vars(config))
    ppo = make_ppo(config, n_steps=8)
    seen = []
    update = ppo.normalizer.update_obs
    ppo.normalizer.update_obs = lambda obs: (update(obs), seen.append(obs.copy()))
    # the first step of both environments is fine, the second is not
    with pytest.raises(EnvironmentFailed, match=rf"environment 0 sent {words} that is not finite at timestep 2:"):
        ppo.collect()
    assert len(seen) == 1
    assert all(bool(buffer.isfinite().all()) for buffer in ppo.normalizer.buffers())


def test_the_first_observations_are_checked_too():
    config = EnvConfig.from_plain(
        {"class_path": envs.PATH + "SendsBad", "kwargs": {"what": "reset"}, "normalize": {"obs": True}}
    )
    with pytest.raises(EnvironmentFailed, match=r"environment 0 sent an observation .* timestep 0"):
        make_ppo(config, n_steps=8)
