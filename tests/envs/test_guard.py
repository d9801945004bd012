"""What is not finite stops the run before it touches moments, and says where it came from."""

import numpy as np
import pytest
from gymnasium import spaces

from lit_rl.envs import make, probe
from lit_rl.envs.config import EnvConfig
from lit_rl.envs.failures import EnvironmentFailed, InvalidOutput
from lit_rl.envs.guard import check_step
from lit_rl.envs.output import as_number, wrong_observation
from lit_rl.envs.sync import SyncVectorEnv
from lit_rl.envs.vector import StepResult
from tests.helpers import envs
from tests.helpers.on_policy import make_ppo

N = 3
SOUND = SyncVectorEnv(EnvConfig(class_path=envs.PATH + "DictWalk"), 0, range(1))
SPACES = SOUND.observation_space, SOUND.action_space


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
    message = {"obs": "an observation", "reward": "a reward"}[what]
    with pytest.raises(EnvironmentFailed, match=rf"environment 6 sent {message} .* timestep 120: .*(nan|inf)"):
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
    ("kwargs", "message"),
    [
        ({"what": "obs"}, "an observation"),
        ({"what": "obs", "last": True}, "a last observation"),
        ({"what": "reward"}, "a reward"),
        ({"what": "reward", "value": float("-inf")}, "a reward"),
    ],
)
def test_moments_are_not_touched_by_the_step_that_is_refused(kwargs, message):
    config = EnvConfig(class_path=envs.PATH + "SendsBad", kwargs={"at": 2, **kwargs}, n_envs=2, normalize={"obs": True})
    config = EnvConfig.from_plain(vars(config))
    ppo = make_ppo(config, n_steps=8)
    seen = []
    update = ppo.normalizer.update_obs
    ppo.normalizer.update_obs = lambda obs: (update(obs), seen.append(obs.copy()))
    # the first step of both environments is fine, the second is not
    with pytest.raises(EnvironmentFailed, match=rf"environment 0 sent {message} that is not finite at timestep 2:"):
        ppo.collect()
    assert len(seen) == 1
    assert all(bool(buffer.isfinite().all()) for buffer in ppo.normalizer.buffers())


INVALID = [
    ("shape", r"an observation of shape \(3,\), and its space has \(2,\), in 'vector'"),
    ("kind", r"an observation of type float64, and its space has uint8, in 'image'"),
    ("text", r"an observation of type ndarray \(<U1\), and its space has float32, in 'vector'"),
    ("large", r"an observation of type int64 with numbers that its space's uint8 cannot hold, in 'image'"),
    ("missing", r"an observation without 'parity'"),
    ("no dict", r"an observation that is a ndarray, and its space is a Dict"),
    ("reward", r"a reward that is no number: ndarray array\(\[0\., 0\.\]\)"),
    ("no reward", r"a reward that is no number: NoneType None"),
]


@pytest.mark.parametrize("backend", ["sync", pytest.param("async", marks=pytest.mark.workers)])
@pytest.mark.parametrize(("what", "message"), INVALID)
def test_what_is_none_of_the_space_is_refused_before_anything_is_touched(what, message, backend, monkeypatch):
    """At the second step; `restart` is for crashes and does not help here."""
    monkeypatch.setattr(make, "probe", lambda *_, **__: probe.Probe("exact", 0.0, False, *SPACES))
    env = {"class_path": envs.PATH + "SendsInvalid", "kwargs": {"what": what}, "n_envs": 2, "on_env_crash": "restart"}
    ppo = make_ppo({**env, "backend": backend, "n_workers": 1, "normalize": {"obs": True}}, policy="MultiInputPolicy")
    seen = []
    update = ppo.normalizer.update_obs
    ppo.normalizer.update_obs = lambda obs: (update(obs), seen.append(1))
    try:
        place = r"in episode 0, step 2\. \(timestep 2\)"
        with pytest.raises(EnvironmentFailed, match=rf"^environment 0 \(.*SendsInvalid\) sent {message} {place}$"):
            ppo.collect()
        assert len(seen) == 1
    finally:
        ppo.teardown("fit")


@pytest.mark.parametrize("backend", ["sync", pytest.param("async", marks=pytest.mark.workers)])
@pytest.mark.parametrize(("what", "message"), [(what, message) for what, message in INVALID if "reward" not in what])
def test_the_first_observation_must_be_of_the_space_too(what, message, backend, monkeypatch):
    monkeypatch.setattr(make, "probe", lambda *_, **__: probe.Probe("exact", 0.0, False, *SPACES))
    env = {"class_path": envs.PATH + "SendsInvalid", "kwargs": {"what": what, "at": 0}, "backend": backend}
    with pytest.raises(
        EnvironmentFailed, match=rf"^environment 0 .* sent {message} in the reset of episode 0\. \(times"
    ):
        make_ppo(env, policy="MultiInputPolicy")


@pytest.mark.parametrize(
    "obs",
    [
        np.array([1.0, 2.0]),  # wider, as many environments send
        np.array([1, 2]),
        [1.0, 2.0],
    ],
)
def test_what_fits_into_the_space_passes(obs):
    assert wrong_observation(obs, spaces.Box(-10.0, 10.0, (2,), np.float32)) is None


def test_numbers_of_a_set_pass_as_python_writes_them():
    assert wrong_observation(1, spaces.Discrete(2)) is None
    assert wrong_observation([True, False], spaces.MultiBinary(2)) is None
    assert wrong_observation(1.0, spaces.Discrete(2)) is not None
    assert wrong_observation([[1.0], [1.0, 2.0]], spaces.Box(0, 1, (2, 2))) is not None


@pytest.mark.parametrize("reward", [1, 1.5, True, np.float32(2), np.bool_(True), np.array(1.0), np.array([3])])
def test_every_form_of_one_number_is_a_reward(reward):
    assert as_number(reward) == float(np.asarray(reward).item())


@pytest.mark.parametrize("reward", [None, "1.0", 1j, np.array([1, 2]), np.array("1")])
def test_what_is_no_reward(reward):
    with pytest.raises(InvalidOutput, match="no number"):
        as_number(reward)


def test_a_stack_of_frames_does_not_hide_a_wrong_shape():
    """One number would be broadcast into the stack."""
    config = EnvConfig(class_path=envs.PATH + "SendsBad", kwargs={"what": "shape", "at": 1}, frame_stack=2)
    venv = SyncVectorEnv(config, 0, range(1))
    venv.reset()
    with pytest.raises(EnvironmentFailed, match=r"shape \(1,\), and its space has \(2,\)"):
        venv.step(np.ones(1, np.int64))


def test_the_first_observations_are_checked_too():
    config = EnvConfig.from_plain(
        {"class_path": envs.PATH + "SendsBad", "kwargs": {"what": "reset"}, "normalize": {"obs": True}}
    )
    with pytest.raises(EnvironmentFailed, match=r"environment 0 sent an observation .* timestep 0"):
        make_ppo(config, n_steps=8)
