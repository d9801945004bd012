"""Exported agents: stable-baselines3 opens them, acts alike to the bit, and trains on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.utils import FloatSchedule

from lit_rl.errors import ConfigError, DataError, StorageError
from lit_rl.interop.export import resolve_classes, write_agent
from lit_rl.interop.sb3 import read_agent

VECTOR = spaces.Box(-1, 1, (3,))
IMAGE = spaces.Box(0, 255, (3, 36, 36), "uint8")
SEEN = {
    "box": ("MlpPolicy", VECTOR),
    "discrete": ("MlpPolicy", spaces.Discrete(5)),
    "multi_discrete": ("MlpPolicy", spaces.MultiDiscrete([3, 4])),
    "multi_binary": ("MlpPolicy", spaces.MultiBinary(4)),
    "dict": ("MultiInputPolicy", spaces.Dict(image=IMAGE, vector=VECTOR, kind=spaces.Discrete(3))),
    "image": ("CnnPolicy", IMAGE),
}
DONE = {
    "box": spaces.Box(-2, 2, (2,)),
    "discrete": spaces.Discrete(3),
    "multi_discrete": spaces.MultiDiscrete([2, 3]),
    "multi_binary": spaces.MultiBinary(3),
}
CASES = [(seen, "box", sde) for seen in SEEN for sde in (False, True)] + [
    ("box", done, False) for done in DONE if done != "box"
]


class SpacesOnly(gym.Env):
    """Random observations of a space, for ever."""

    def __init__(self, seen: spaces.Space, done: spaces.Space) -> None:
        self.observation_space, self.action_space = seen, done

    def reset(self, *, seed: int | None = None, options: object = None) -> tuple[Any, dict]:
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action: object) -> tuple[Any, float, bool, bool, dict]:
        return self.observation_space.sample(), 1.0, False, False, {}


def sample(space: spaces.Space, count: int) -> Any:
    """`count` observations with a batch dimension in front."""
    space.seed(7)
    drawn = [space.sample() for _ in range(count)]
    if isinstance(space, spaces.Dict):
        return {key: np.stack([one[key] for one in drawn]) for key in space.spaces}
    return np.stack(drawn)


def sample_actions(space: spaces.Space, count: int) -> torch.Tensor:
    actions = torch.as_tensor(sample(space, count))
    return actions.float() if isinstance(space, spaces.MultiBinary) else actions  # as SB3's buffer keeps them


def trained(seen: str, done: str, sde: bool, **kwargs: Any) -> tuple[ActorCriticPolicy, dict[str, Any]]:
    """A policy of SB3's own with weights that are nowhere zero, after one optimizer step; and its
    arguments.
    """
    name, space = SEEN[seen]
    kwargs = {"net_arch": [16], "activation_fn": torch.nn.ReLU, **kwargs}
    policy_class = PPO.policy_aliases[name]
    torch.manual_seed(3)
    policy = policy_class(space, DONE[done], lambda _: 3e-4, use_sde=sde, **kwargs)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    obs, _ = policy.obs_to_tensor(sample(space, 8))
    actions = sample_actions(DONE[done], 8)
    values, log_prob, _ = policy.evaluate_actions(obs, actions)
    (values.sum() + log_prob.sum()).backward()
    policy.optimizer.step()
    return policy, kwargs


@pytest.mark.parametrize(("seen", "done", "sde"), CASES)
def test_sb3_acts_alike_on_a_thousand_observations(tmp_path: Path, seen: str, done: str, sde: bool) -> None:
    policy, kwargs = trained(seen, done, sde)
    name, space = SEEN[seen]
    text_kwargs = {**kwargs, "activation_fn": "torch.nn.ReLU"}
    state = torch.random.get_rng_state()
    write_agent(
        tmp_path / "agent.zip",
        policy.state_dict(),
        space,
        DONE[done],
        name,
        text_kwargs,
        {"use_sde": sde, "n_steps": 4, "batch_size": 4},
        [policy.optimizer.state_dict()],
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    model = PPO.load(tmp_path / "agent.zip", device="cpu")
    obs = sample(space, 1000)
    policy.set_training_mode(False)
    assert np.array_equal(model.predict(obs, deterministic=True)[0], policy.predict(obs, deterministic=True)[0])
    actions = sample_actions(DONE[done], 1000)
    with torch.no_grad():
        tensors, _ = policy.obs_to_tensor(obs)
        ours, theirs = (
            policy.evaluate_actions(tensors, actions),
            model.policy.evaluate_actions(tensors, actions),
        )
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True) if a is not None)
    left, right = policy.optimizer.state_dict(), model.policy.optimizer.state_dict()
    assert left["param_groups"] == right["param_groups"]
    assert left["state"].keys() == right["state"].keys()
    for index, entry in left["state"].items():
        assert all(torch.equal(entry[key], right["state"][index][key]) for key in entry)
    agent = read_agent(tmp_path / "agent.zip")
    assert agent.algorithm == "ppo"
    assert agent.policy_kwargs == text_kwargs
    assert agent.policy.keys() == policy.state_dict().keys()
    assert all(torch.equal(agent.policy[key], tensor) for key, tensor in policy.state_dict().items())


def test_sb3_trains_on(tmp_path: Path) -> None:
    policy, kwargs = trained("box", "discrete", False)
    hyperparameters = {
        "learning_rate": "lin_1e-3",
        "clip_range": "lin_0.3",
        "clip_range_vf": 0.4,
        "gamma": 0.9,
        "gae_lambda": 0.8,
        "ent_coef": 0.01,
        "vf_coef": 0.6,
        "max_grad_norm": 0.7,
        "n_steps": 8,
        "batch_size": 16,
        "n_epochs": 2,
        "normalize_advantage": False,
        "target_kl": 0.5,
        "sde_sample_freq": 3,
    }
    write_agent(
        tmp_path / "agent.zip",
        policy.state_dict(),
        VECTOR,
        DONE["discrete"],
        "MlpPolicy",
        kwargs,
        hyperparameters,
        [policy.optimizer.state_dict()],
        n_envs=2,
        num_timesteps=250,
        total_timesteps=1000,
        seed=5,
    )
    agent = read_agent(tmp_path / "agent.zip")
    for key, value in hyperparameters.items():
        written = "lin_0.001" if value == "lin_1e-3" else value
        assert agent.settings[key] == written, key
    assert (agent.settings["num_timesteps"], agent.settings["seed"], agent.settings["n_envs"]) == (250, 5, 2)
    model = PPO.load(tmp_path / "agent.zip", env=SpacesOnly(VECTOR, DONE["discrete"]), device="cpu")
    assert isinstance(model.clip_range, FloatSchedule)
    assert model.clip_range(0.5) == pytest.approx(0.15)
    assert model.lr_schedule(0.25) == pytest.approx(2.5e-4)
    assert model._current_progress_remaining == 0.75
    model.learn(32, reset_num_timesteps=False)
    assert model.num_timesteps == 250 + 32


def test_an_optimizer_of_fused_kernels(tmp_path: Path) -> None:
    """A learning rate that is a tensor and switches of our machine do not reach the file."""
    policy, kwargs = trained("box", "box", False)
    state = policy.optimizer.state_dict()
    state["param_groups"][0] |= {"lr": torch.tensor(1e-3), "fused": True, "capturable": True}
    write_agent(
        tmp_path / "agent.zip", policy.state_dict(), VECTOR, DONE["box"], "MlpPolicy", kwargs, optimizers=[state]
    )
    agent = read_agent(tmp_path / "agent.zip")
    assert agent.policy_optimizer is not None
    group = agent.policy_optimizer["param_groups"][0]
    assert (type(group["lr"]), group["fused"], group["capturable"]) == (float, None, False)
    assert group["lr"] == pytest.approx(1e-3)


def test_the_published_agent_survives_a_round_trip(pendulum: Path, tmp_path: Path) -> None:
    agent = read_agent(pendulum)
    seen = spaces.Box(np.array([-1, -1, -8], "float32"), np.array([1, 1, 8], "float32"))
    done = spaces.Box(-2, 2, (1,))
    write_agent(
        tmp_path / "agent.zip",
        agent.policy,
        seen,
        done,
        "MlpPolicy",
        agent.policy_kwargs,
        {"use_sde": True},
        [agent.policy_optimizer],
    )
    again = read_agent(tmp_path / "agent.zip")
    assert again.policy_kwargs == agent.policy_kwargs
    assert again.policy.keys() == agent.policy.keys()
    assert all(torch.equal(again.policy[key], tensor) for key, tensor in agent.policy.items())
    assert again.policy_optimizer is not None
    assert agent.policy_optimizer is not None
    for index, entry in agent.policy_optimizer["state"].items():
        square = again.policy_optimizer["state"][index]["square_avg"]
        assert torch.equal(square, entry["square_avg"])


def test_mistakes_are_named(tmp_path: Path) -> None:
    policy, kwargs = trained("box", "box", False)
    path = tmp_path / "agent.zip"

    def write(**changes: Any) -> None:
        arguments: dict[str, Any] = {
            "policy": policy.state_dict(),
            "observation_space": VECTOR,
            "action_space": DONE["box"],
            "policy_class": "MlpPolicy",
            "policy_kwargs": kwargs,
        }
        write_agent(path, **{**arguments, **changes})

    with pytest.raises(ConfigError, match=r"gama.*Did you mean 'gamma'"):
        write(hyperparameters={"gama": 0.9})
    with pytest.raises(ConfigError, match=r"cos_0\.1"):
        write(hyperparameters={"learning_rate": "cos_0.1"})
    with pytest.raises(DataError, match="do not fit"):
        write(policy_kwargs={"net_arch": [17]})
    with pytest.raises(DataError, match="do not fit"):
        write(optimizers=[{"state": {}, "param_groups": []}])
    with pytest.raises(StorageError, match="cannot be written"):
        write_agent(tmp_path / "no" / "x.zip", policy.state_dict(), VECTOR, DONE["box"], "MlpPolicy", kwargs)
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"old")
    write()
    assert read_agent(path).algorithm == "ppo"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "name", ["os.system", "torch.nn.functional.relu", "torch.nn.Missing", "torch.nn.modules.os.system"]
)
def test_text_from_a_file_imports_nothing(name: str) -> None:
    with pytest.raises(ConfigError, match="policy_kwargs"):
        resolve_classes({"activation_fn": name})


def test_names_of_known_classes() -> None:
    known = {
        "activation_fn": "torch.nn.Tanh",
        "optimizer_class": "torch.optim.RMSprop",
        "features_extractor_class": "stable_baselines3.common.torch_layers.NatureCNN",
        "net_arch": [3],
    }
    resolved = resolve_classes(known)
    assert resolved["activation_fn"] is torch.nn.Tanh
    assert resolved["optimizer_class"] is torch.optim.RMSprop
    assert resolved["features_extractor_class"].__name__ == "NatureCNN"
    assert resolved["net_arch"] == [3]
