"""Environments by name, wrappers in order, and what is said when the configuration is wrong."""

import builtins

import gymnasium as gym
import pytest
from gymnasium import spaces

from lit_rl.envs.build import make_env
from lit_rl.envs.config import EnvConfig, NormalizeConfig, WrapperConfig
from lit_rl.envs.monitor import EpisodeMonitor
from lit_rl.errors import EXIT_CONFIG, ConfigError
from tests.helpers import envs

OURS = envs.PATH


def refused(config, message):
    with pytest.raises(ConfigError, match=message) as caught:
        make_env(config)
    text = str(caught.value)
    assert "\n" not in text
    assert text.count("Did you mean") <= 1
    assert caught.value.exit_code == EXIT_CONFIG


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("CartPol-v1", r"env\.id: .*CartPol.* Did you mean 'CartPole-v1'\?"),
        ("cartpole-v1", r"Did you mean 'CartPole-v1'\?"),
        ("CartPole-v9", r"v9.* Did you mean 'CartPole-v1'\?"),
        ("no_such_module:Env-v0", r"no_such_module"),
        ("Zzzzzz-v0", r"env\.id: .*Zzzzzz.* doesn't exist\. One that a module of yours registers is module:Id"),
        ("not an id", r"env\.id: "),
    ],
)
def test_an_unknown_id_names_the_nearest(name, message):
    refused(EnvConfig(id=name), message)


def test_an_unknown_atari_game_names_the_nearest():
    pytest.importorskip("ale_py")
    refused(EnvConfig(id="ALE/Pon-v5"), r"env\.id: .* Did you mean 'ALE/Pong-v5'\?")


def without(monkeypatch, module):
    """As if `module` were not installed."""
    real = builtins.__import__

    def importing(name, *args, **kwargs):
        if name.split(".")[0] == module:
            raise ModuleNotFoundError(f"No module named '{module}'", name=module)
        return real(name, *args, **kwargs)

    for name in [name for name in __import__("sys").modules if name.split(".")[0] == module]:
        monkeypatch.delitem(__import__("sys").modules, name)
    monkeypatch.setattr(builtins, "__import__", importing)


@pytest.mark.parametrize(
    ("config", "module", "extra"),
    [
        (EnvConfig(id="ALE/Pong-v5"), "ale_py", "atari"),
        (EnvConfig(id="ALE/Pong-v5", atari=True), "ale_py", "atari"),
    ],
)
def test_a_missing_package_names_its_extra(monkeypatch, config, module, extra):
    without(monkeypatch, module)
    refused(config, rf"pip install 'lit-rl\[{extra}\]'")


@pytest.mark.parametrize(
    ("text", "extra"),
    [
        ('MuJoCo is not installed, run `pip install "gymnasium[mujoco]"`', "mujoco"),
        ("Box2D is not installed, you can install it with `pip install swig`", "box2d"),
        ("No module named 'cv2'", "atari"),
    ],
)
def test_what_gymnasium_says_is_missing_names_its_extra(monkeypatch, text, extra):
    def make(*args, **kwargs):
        raise gym.error.DependencyNotInstalled(text)

    monkeypatch.setattr(gym, "make", make)
    refused(EnvConfig(id="Some-v0"), rf"Some-v0 needs .*pip install 'lit-rl\[{extra}\]'")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (EnvConfig(), r"env\.id is missing"),
        (EnvConfig(id="CartPole-v1", kwargs={"gravity": 1}), r"env\.kwargs: .*'gravity'"),
        (EnvConfig(class_path=OURS + "Walk", kwargs={"size": 1}), r"env\.kwargs: .*'size'"),
        (EnvConfig(class_path="Walk"), r"env\.class_path: 'Walk' is no import path; write module\.Class"),
        (EnvConfig(class_path="tests.helpers.nothing.Walk"), r"env\.class_path: cannot import"),
        (EnvConfig(class_path=OURS + "Wolk"), r"env\.class_path: .*no 'Wolk'\. Did you mean 'Walk'\?"),
        (
            EnvConfig(id="CartPole-v1", wrappers=[WrapperConfig("gymnasium.wrappers.FlattenObservatio")]),
            r"env\.wrappers\[0\]\.class_path: .* Did you mean 'FlattenObservation'\?",
        ),
        (
            EnvConfig(
                id="CartPole-v1",
                wrappers=[
                    WrapperConfig("gymnasium.wrappers.FlattenObservation"),
                    WrapperConfig("gymnasium.wrappers.ClipReward", {"min_rewrd": 0}),
                ],
            ),
            r"env\.wrappers\[1\]\.init_args: .*'min_rewrd'",
        ),
        (
            EnvConfig(id="CartPole-v1", wrappers=[WrapperConfig("gymnasium.wrappers.TimeLimit")]),
            r"env\.wrappers\[0\]\.init_args: .*missing .*'max_episode_steps'",
        ),
        (EnvConfig(id="CartPole-v1", atari=True), r"env\.atari is for Atari games; CartPole-v1 is not one"),
        (EnvConfig(class_path=OURS + "TupleActions"), r"action space Tuple is not supported"),
        (
            EnvConfig(class_path=OURS + "TextObservations"),
            r"observation space Text at 'words' is not supported",
        ),
        (EnvConfig(id="Blackjack-v1"), r"observation space Tuple is not supported"),
    ],
    ids=lambda value: None if isinstance(value, str) else "",
)
def test_mistakes_are_one_line_with_the_key(config, message):
    refused(config, message)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_envs": 0}, r"env\.n_envs is 0"),
        ({"n_workers": 0}, r"env\.n_workers is 0"),
        ({"frame_stack": 0}, r"env\.frame_stack is 0"),
        ({"class_path": "a.B"}, r"env\.id and env\.class_path are both given"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ConfigError, match=message):
        EnvConfig(id="CartPole-v1", **settings)


def test_wrappers_are_applied_in_the_order_written():
    config = EnvConfig(
        id="CartPole-v1",
        wrappers=[
            WrapperConfig("gymnasium.wrappers.FlattenObservation"),
            WrapperConfig("gymnasium.wrappers.DelayObservation", {"delay": 1}),
        ],
    )
    env, monitor = make_env(config)
    assert isinstance(env, gym.wrappers.DelayObservation)
    assert isinstance(env.env, gym.wrappers.FlattenObservation)
    assert env.env.env is monitor
    assert isinstance(monitor, EpisodeMonitor)


def test_a_time_limit_replaces_the_environments_own():
    for config in (
        EnvConfig(id="CartPole-v1", max_episode_steps=7),
        EnvConfig(class_path=OURS + "Walk", max_episode_steps=7),
    ):
        env, _ = make_env(config)
        env.reset(seed=0)
        ends = [env.step(t % 2 if config.id else 1)[2:4] for t in range(7)]
        assert ends == [(False, False)] * 6 + [(False, True)]


def test_kwargs_reach_the_environment():
    env, _ = make_env(EnvConfig(id="FrozenLake-v1", kwargs={"is_slippery": False, "map_name": "8x8"}))
    assert env.observation_space == spaces.Discrete(64)


def test_a_module_can_register_the_environment_first():
    env, _ = make_env(EnvConfig(id="tests.helpers.registered:Registered-v0"))
    assert isinstance(env.unwrapped, envs.Walk)


def test_plain_dictionaries_and_records_are_the_same():
    config = EnvConfig.from_plain(
        {
            "id": "CartPole-v1",
            "normalize": {"obs": True},
            "wrappers": [{"class_path": "a.B", "init_args": {"c": 1}}],
        }
    )
    assert config == EnvConfig(
        id="CartPole-v1", normalize=NormalizeConfig(obs=True), wrappers=[WrapperConfig("a.B", {"c": 1})]
    )
