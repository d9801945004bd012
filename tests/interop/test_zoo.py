"""Blocks of the RL Zoo's YAML, in the spellings that its files have."""

from __future__ import annotations

from pathlib import Path

import pytest

from lit_rl.errors import ConfigError, DataError
from lit_rl.interop.zoo import Wrapper, load_yaml, read_zoo

FILE = """
atari:
  env_wrapper:
    - stable_baselines3.common.atari_wrappers.AtariWrapper
  frame_stack: 4
  policy: 'CnnPolicy'
  n_timesteps: !!float 1e7
  learning_rate: lin_2.5e-4

Defaults-v0: &defaults
  normalize: true
  n_timesteps: 1e6
  gamma: 0.98
  learning_rate: 3e-5
  use_sde: True
  policy: MlpPolicy
  policy_kwargs: "dict(log_std_init=-2,
                       activation_fn=nn.ReLU,
                       net_arch=[dict(pi=[256, 256], vf=[64])]
                       )"

Merged-v0:
  <<: *defaults
  gamma: 0.9
  n_envs: 16

CarRacing-v0:
  env_wrapper:
    - rl_zoo.wrappers.FrameSkip:
        skip: 2
    - gym.wrappers.GrayScale
  normalize: "{'norm_obs': False, 'norm_reward': True}"
  env_kwargs: "dict(continuous=False)"
  n_timesteps: 4000

Other-v0:
  normalize: "dict(norm_obs=True, norm_reward=False, clip_obs=5.0)"
  env_wrapper: a.b.C
  callback: rl_zoo3.callbacks.X
  n_steps: many
  clip_range: cos_0.2
  clip_range_vf: null
  normalize_advantage: 1
  policy_kwargs: "dict(activation_fn=my.Activation, net_arch=[64, dict(pi=[8])],
  optimizer_class=th.optim.SGD)"

Hostile-v0:
  policy_kwargs: "dict(a=__import__('os').system('touch marker'))"
  normalize: "open('marker', 'w')"
  env_wrapper: "x; y"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "ppo.yml"
    path.write_text(FILE)
    return path


def test_atari_defaults(file: Path) -> None:
    zoo = read_zoo(file, "BreakoutNoFrameskip-v4")
    assert zoo.wrappers == [Wrapper("stable_baselines3.common.atari_wrappers.AtariWrapper")]
    assert (zoo.frame_stack, zoo.policy, zoo.n_timesteps) == (4, "CnnPolicy", 10_000_000)
    assert zoo.carried == {"learning_rate": "lin_2.5e-4"}
    assert zoo.not_carried == []


def test_merged_block(file: Path) -> None:
    zoo = read_zoo(file, "Merged-v0")
    assert zoo.carried == {"gamma": 0.9, "learning_rate": 3e-5, "use_sde": True}
    assert zoo.normalize == {"norm_obs": True, "norm_reward": True, "gamma": 0.9}
    assert (zoo.n_timesteps, zoo.n_envs) == (1_000_000, 16)
    net_arch = {"pi": [256, 256], "vf": [64]}
    assert zoo.policy_kwargs == {"log_std_init": -2, "activation_fn": "torch.nn.ReLU", "net_arch": net_arch}


def test_wrappers_and_partial_normalize(file: Path) -> None:
    zoo = read_zoo(file, "CarRacing-v0")
    assert zoo.wrappers == [
        Wrapper("rl_zoo.wrappers.FrameSkip", {"skip": 2}),
        Wrapper("gym.wrappers.GrayScale"),
    ]
    assert zoo.normalize == {"norm_obs": False, "norm_reward": True}
    assert zoo.env_kwargs == {"continuous": False}
    assert zoo.n_timesteps == 4000


def test_what_cannot_be_carried_is_listed(file: Path) -> None:
    zoo = read_zoo(file, "Other-v0")
    assert zoo.normalize == {"norm_obs": True, "norm_reward": False, "clip_obs": 5.0}
    assert zoo.wrappers == [Wrapper("a.b.C")]
    assert zoo.policy_kwargs == {"optimizer_class": "torch.optim.SGD"}
    assert [item.key for item in zoo.not_carried] == [
        "callback",
        "n_steps",
        "clip_range",
        "normalize_advantage",
        "policy_kwargs.activation_fn",
        "policy_kwargs.net_arch",
    ]
    reasons = {item.key: item.reason for item in zoo.not_carried}
    assert reasons["n_steps"] == "'many' is not a whole number."
    assert "lin_<start>" in reasons["clip_range"]
    assert "my.Activation" in reasons["policy_kwargs.activation_fn"]


def test_hostile_texts_are_listed_and_not_evaluated(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    zoo = read_zoo(file, "Hostile-v0")
    assert [item.key for item in zoo.not_carried] == ["policy_kwargs", "normalize", "env_wrapper"]
    assert not (tmp_path / "marker").exists()


def test_config_beside_an_agent(pendulum: Path) -> None:
    zoo = read_zoo(pendulum.with_suffix("") / "config.yml", "Pendulum-v1", "a2c")
    assert (zoo.n_envs, zoo.n_timesteps, zoo.policy) == (8, 1_000_000, "MlpPolicy")
    assert zoo.carried["learning_rate"] == "lin_7e-4"
    assert zoo.carried["n_steps"] == 8
    assert zoo.policy_kwargs == {"log_std_init": -2, "ortho_init": False}
    assert zoo.normalize == {"norm_obs": True, "norm_reward": True, "gamma": 0.99}
    assert zoo.carried["use_rms_prop"] is True
    assert zoo.not_carried == []
    assert load_yaml(pendulum.with_suffix("") / "args.yml")["env"] == "Pendulum-v1"


def test_every_published_config(published: Path) -> None:
    for path in sorted(published.glob("*/*/*/*.yml")):
        assert load_yaml(path)


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system ['touch marker']",
        "a: !!python/object/new:os.system ['touch marker']",
        "a: !!python/name:os.system ''",
        "a: !!python/module:os ''",
        "a: !!python/tuple [1, 2]",
        "!!python/object/apply:collections.OrderedDict [[[a, !!python/name:os.system '']]]",
        "!!python/object/apply:collections.OrderedDict {args: [1]}",
        "a: !custom 1",
        "a: 1\na: 2",
        "a: {b: 1, b: 2}",
        "[1, 2]",
        "a: [",
        "1: 2",
        "a: " + "[" * 3000,
        "\n".join(
            ["a0: &a0 {x0: 1, y0: 1}"] + [f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}], x{i}: 1}}" for i in range(1, 40)]
        ),
    ],
)
def test_yaml_that_is_refused_or_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.yml"
    path.write_text(text)
    if text.startswith("a0"):
        assert len(load_yaml(path)["a39"]) == 41  # merged forty times, and not two to the fortieth
    else:
        with pytest.raises(DataError, match=r"config\.yml") as caught:
            load_yaml(path)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "marker").exists()


def test_python_tags_are_named(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text("b: 1\na: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(DataError, match=r"the tag !!python/object/apply:os\.system is refused.* in line 2"):
        load_yaml(path)


def test_mistakes(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'Merged-v0'"):
        read_zoo(file, "Merged-v1")
    with pytest.raises(ConfigError, match="--env"):
        read_zoo(file)
    with pytest.raises(ConfigError, match="'qrdqn'"):
        read_zoo(file, "Merged-v0", "qrdqn")
    with pytest.raises(ConfigError, match="not there"):
        read_zoo(tmp_path / "missing.yml", "Merged-v0")


def test_episodes_of_old_blocks(tmp_path: Path) -> None:
    """Before 1.0, `train_freq: -1` with `n_episodes_rollout: 1` was what `(1, "episode")` is today."""
    path = tmp_path / "sac.yml"
    for text, read, left_out in (
        ("train_freq: -1\n  n_episodes_rollout: 2", [2, "episode"], []),
        ("train_freq: 8\n  n_episodes_rollout: -1", 8, []),
        ("train_freq: -1", None, ["train_freq"]),
    ):
        path.write_text(f"Pendulum-v1:\n  {text}\n")
        zoo = read_zoo(path, "Pendulum-v1", "sac")
        assert zoo.carried.get("train_freq") == read
        assert [item.key for item in zoo.not_carried] == left_out


def test_environments_without_velocities(tmp_path: Path) -> None:
    """The Zoo registers them; here they are the environments themselves with a wrapper."""
    pytest.importorskip("sb3_contrib")
    from lit_rl.interop.run_yaml import draft_run

    zoo = "CartPoleNoVel-v1:\n  policy: MlpLstmPolicy\n  n_steps: 32\n  policy_kwargs: dict(lstm_hidden_size=64)\n"
    path = tmp_path / "ppo_lstm.yml"
    path.write_text(zoo)
    config = draft_run(zoo=read_zoo(path, "CartPoleNoVel-v1", "ppo_lstm")).config
    assert config["env"]["id"] == "CartPole-v1"
    (wrapper,) = config["env"]["wrappers"]
    assert (wrapper["class_path"].rpartition(".")[2], wrapper["init_args"]) == ("Hidden", {"indices": [1, 3]})
    assert config["model"]["class_path"] == "RecurrentPPO"
    assert config["model"]["init_args"]["policy_kwargs"] == {"lstm_hidden_size": 64}
