"""Agents of stable-baselines3: what is read, what is refused, and that nothing in them runs."""

from __future__ import annotations

import contextlib
import io
import pickle
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import gymnasium as gym
import pytest
import torch
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.utils import LinearSchedule

from lit_rl.errors import DataError
from lit_rl.interop.sb3 import Agent, describe, read_agent
from lit_rl.interop.shapes import infer_shapes
from lit_rl.interop.text import SpaceText

from .hostile import Touch, evil_entry, evil_pickle, rezip, with_settings


def test_the_published_pendulum_agent(pendulum: Path) -> None:
    agent = read_agent(pendulum)
    assert (agent.algorithm, agent.sb3_version) == ("a2c", "2.4.0a11")
    assert agent.policy_class == "stable_baselines3.common.policies.ActorCriticPolicy"
    assert agent.policy_kwargs["log_std_init"] == -2
    assert agent.policy_kwargs["optimizer_class"] == "torch.optim.RMSprop"
    assert (agent.settings["gamma"], agent.settings["n_steps"], agent.settings["use_sde"]) == (0.99, 8, True)
    assert agent.observation_space == SpaceText("Box", (3,), "float32", low="[-1. -1. -8.]", high="[1. 1. 8.]")
    assert agent.used_vecnormalize
    assert agent.policy_optimizer is not None
    assert agent.policy_optimizer["param_groups"][0]["alpha"] == 0.99
    assert "deque" in agent.not_read["ep_info_buffer"]
    assert ("log_std", (64, 1), "float32") in describe(agent.policy)
    shapes = infer_shapes(agent.policy)
    assert (shapes.features, shapes.policy_layers, shapes.value_layers) == (3, (64, 64), (64, 64))
    assert shapes.use_sde


def test_every_published_agent(published: Path) -> None:
    found = {}
    for path in sorted(published.glob("*/*/*.zip")):
        agent = read_agent(path)
        found[str(path.relative_to(published))] = agent.algorithm
        assert agent.algorithm == path.relative_to(published).parts[0]
        assert describe(agent.policy)
        with zipfile.ZipFile(path) as archive:
            trusted = torch.load(io.BytesIO(archive.read("policy.pth")), weights_only=True, map_location="cpu")
        assert all(torch.equal(agent.policy[name], tensor) for name, tensor in trusted.items())
    assert {"ppo", "a2c", "dqn", "sac"} <= set(found.values())


@pytest.mark.parametrize("cls", [PPO, A2C, DQN, SAC, TD3, DDPG])
def test_what_this_stable_baselines3_writes(tmp_path: Path, cls: type) -> None:
    env = "CartPole-v1" if cls in (PPO, A2C, DQN) else "Pendulum-v1"
    small = {} if cls in (PPO, A2C) else {"buffer_size": 10}
    model = cls(
        "MlpPolicy",
        env,
        device="cpu",
        policy_kwargs={"net_arch": [8], "activation_fn": torch.nn.ReLU},
        **small,
    )
    model.save(tmp_path / "agent.zip")
    agent = read_agent(tmp_path / "agent.zip")
    assert agent.algorithm == cls.__name__.lower()
    assert agent.policy_kwargs["net_arch"] == [8]
    assert agent.policy_kwargs["activation_fn"] == "torch.nn.ReLU"
    assert agent.policy.keys() == model.policy.state_dict().keys()
    assert all(torch.equal(agent.policy[name], t) for name, t in model.policy.state_dict().items())
    if cls in (PPO, A2C):
        assert agent.used_vecnormalize is False
    else:
        assert agent.used_vecnormalize is None
        with pytest.raises(DataError, match="not an actor-critic"):
            infer_shapes(agent.policy)


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [
        ("TRPO", "trpo"),
        ("QRDQN", "qrdqn"),
        ("TQC", "tqc"),
        ("RecurrentPPO", "ppo_lstm"),
        ("MaskablePPO", "maskableppo"),
    ],
)
def test_what_sb3_contrib_writes(tmp_path: Path, name: str, algorithm: str) -> None:
    contrib = pytest.importorskip("sb3_contrib")
    policy = "MlpLstmPolicy" if name == "RecurrentPPO" else "MlpPolicy"
    small = {"buffer_size": 10} if name in ("QRDQN", "TQC") else {"n_steps": 64, "batch_size": 64}
    env = "Pendulum-v1" if name == "TQC" else "CartPole-v1"
    getattr(contrib, name)(policy, env, device="cpu", **small).save(tmp_path / "agent.zip")
    assert read_agent(tmp_path / "agent.zip").algorithm == algorithm


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (0.25, 0.25),
        (LinearSchedule(2e-4, 0.0, 1.0), "lin_0.0002"),
        (LinearSchedule(1e-3, 1e-4, 0.5), {"start": 1e-3, "end": 1e-4, "shape": "linear", "fraction": 0.5}),
    ],
)
def test_schedules_as_text(tmp_path: Path, given: object, read: object) -> None:
    PPO("MlpPolicy", "CartPole-v1", learning_rate=given, clip_range=given, device="cpu").save(tmp_path / "agent.zip")
    agent = read_agent(tmp_path / "agent.zip")
    for key in ("learning_rate", "clip_range"):
        assert agent.settings.get(key) == read
        assert key not in agent.not_read


class TwoKeys(gym.Env):
    """Two things to see: a picture and numbers."""

    observation_space = gym.spaces.Dict(
        image=gym.spaces.Box(0, 255, (3, 36, 36), "uint8"), vector=gym.spaces.Box(-1, 1, (3,), "float32")
    )
    action_space = gym.spaces.MultiDiscrete([2, 3])


@pytest.mark.parametrize("share", [True, False])
def test_a_dict_of_spaces_and_the_sizes_behind_it(tmp_path: Path, share: bool) -> None:
    kwargs = {"share_features_extractor": share, "net_arch": {"pi": [8], "vf": [16, 4]}}
    model = PPO("MultiInputPolicy", TwoKeys(), policy_kwargs=kwargs, n_steps=4, batch_size=4, device="cpu")
    model.save(tmp_path / "agent.zip")
    agent = read_agent(tmp_path / "agent.zip")
    assert agent.observation_space is not None
    assert agent.observation_space.keys == ("image", "vector")
    assert agent.action_space is not None
    assert agent.action_space.nvec == (2, 3)
    shapes = infer_shapes(agent.policy)
    assert (shapes.policy_layers, shapes.value_layers, shapes.action_outputs) == ((8,), (16, 4), 5)


def test_layers_shared_before_1_8(pendulum: Path) -> None:
    policy = dict(read_agent(pendulum).policy)
    policy["mlp_extractor.shared_net.0.weight"] = torch.zeros(3, 5)
    policy["mlp_extractor.shared_net.0.bias"] = torch.zeros(3)
    assert infer_shapes(policy).shared_layers == (3,)
    policy["mlp_extractor.shared_net.0.weight"] = torch.zeros(4, 5)
    with pytest.raises(DataError, match="do not fit"):
        infer_shapes(policy)


def load_with_sb3(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        PPO.load(path, device="cpu")


@pytest.mark.parametrize("key", ["learning_rate", "policy_class", "observation_space", "an_unknown_key"])
def test_poisoned_settings_are_text(pendulum: Path, tmp_path: Path, marker: Path, key: str) -> None:
    """SB3 runs the poison (so it is one); here it is a value that is not read."""
    path = with_settings(pendulum, tmp_path / "agent.zip", **{key: evil_entry(marker)})
    with contextlib.suppress(Exception):
        load_with_sb3(path)
    assert marker.exists()
    marker.unlink()
    agent = read_agent(path)
    assert isinstance(agent, Agent)
    assert key not in agent.settings


def test_poison_deep_in_plain_settings(pendulum: Path, tmp_path: Path, marker: Path) -> None:
    path = with_settings(
        pendulum,
        tmp_path / "agent.zip",
        nested={"list": [1, evil_entry(marker)]},
        policy_kwargs={
            "net_arch": evil_entry(marker),
            "activation_fn": "<class 'os.system'>",
            "x": "<function f>",
        },
    )
    agent = read_agent(path)
    assert "nested" not in agent.settings
    assert agent.policy_kwargs == {}
    assert {"nested", "policy_kwargs.net_arch", "policy_kwargs.activation_fn"} <= agent.not_read.keys()


@pytest.mark.parametrize("member", ["policy.pth", "policy.optimizer.pth", "pytorch_variables.pth", "extra.pth"])
def test_poisoned_tensor_files(pendulum: Path, tmp_path: Path, marker: Path, member: str) -> None:
    buffer = io.BytesIO()
    torch.save({"weight": torch.ones(1), "evil": Touch(marker)}, buffer)
    for content in (buffer.getvalue(), evil_pickle(marker)):
        extra = [(member, content)] if member == "extra.pth" else []
        path = rezip(pendulum, tmp_path / "agent.zip", {member: content}, extra)
        with pytest.raises(DataError, match=rf"agent\.zip: member '{member}'"):
            read_agent(path)


def test_a_second_member_of_the_same_name(pendulum: Path, tmp_path: Path, marker: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = rezip(pendulum, tmp_path / "agent.zip", extra=[("policy.pth", evil_pickle(marker))])
    with pytest.raises(DataError, match=r"'policy\.pth' is there twice"):
        read_agent(path)


def test_files_nobody_asked_for_are_not_opened(pendulum: Path, tmp_path: Path, marker: Path) -> None:
    path = rezip(pendulum, tmp_path / "agent.zip", extra=[("x.pkl", evil_pickle(marker)), ("x.py", b"import os")])
    assert read_agent(path).algorithm == "a2c"


def test_files_of_others(tmp_path: Path) -> None:
    checkpoint = tmp_path / "last.ckpt"
    torch.save({"state_dict": {"weight": torch.ones(1)}, "pytorch-lightning_version": "2.6"}, checkpoint)
    with pytest.raises(DataError, match="PyTorch or Lightning checkpoint"):
        read_agent(checkpoint)
    for members, text in (
        (("data", "parameter_list", "parameters"), "Stable-Baselines 2"),
        (("word/document.xml",), "'data' is missing"),
        (("data",), r"'policy\.pth' is missing"),
    ):
        with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
            for name in members:
                archive.writestr(name, "{}")
        with pytest.raises(DataError, match=text):
            read_agent(tmp_path / "other.zip")
    (tmp_path / "model.pkl").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(DataError, match="not a zip"):
        read_agent(tmp_path / "model.pkl")


@pytest.mark.parametrize(
    "text", [b"[]", b"{", b'{"a": 1, "a": 2}', b"[" * 100_000, b"\xff", b'{"a": ' + b"9" * 5000 + b"}"]
)
def test_settings_that_are_no_settings(pendulum: Path, tmp_path: Path, text: bytes) -> None:
    with pytest.raises(DataError, match="member 'data'") as caught:
        read_agent(rezip(pendulum, tmp_path / "agent.zip", {"data": text}))
    assert "\n" not in str(caught.value)


def test_no_pickle_is_loaded(pendulum: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise AssertionError("loaded")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, fail)
    assert read_agent(pendulum).algorithm == "a2c"


def test_reading_imports_nothing_that_a_file_names(pendulum: Path) -> None:
    """In a process of its own: the agent and its moments, without SB3, gym or cloudpickle."""
    code = (
        "import sys; from lit_rl.interop import run_yaml, sb3, warmstart, zoo; a = sb3.read_agent(sys.argv[1]);"
        "warmstart.moments_for(a); zoo.load_yaml(run_yaml.find_zoo_config(a.path));"
        "print([m for m in ('stable_baselines3', 'gymnasium', 'gym', 'cloudpickle') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code, str(pendulum)], capture_output=True, text=True, timeout=120)
    assert (run.stdout, run.returncode) == ("[]\n", 0), run.stderr
