"""`warmstart.load`: a part that is named is taken over and no other is touched, from a run of ours and from a zip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import stable_baselines3
import torch

from lit_rl import A2C, PPO
from lit_rl.errors import ConfigError
from lit_rl.interop.sb3 import read_agent
from lit_rl.run.config import WarmstartConfig
from lit_rl.run.weights import owned_by, warmstart, warmstart_from_agent
from lit_rl.training.module import RLModule
from tests.helpers import envs
from tests.helpers.cli import final_state
from tests.helpers.on_policy import make
from tests.runs.conftest import Cli

ENV = {"class_path": envs.PATH + "Image", "n_envs": 2, "max_episode_steps": 5}
CNN = {"policy": "CnnPolicy", "n_steps": 4}


def module(share: bool, seed: int = 5, cls: type[RLModule] = PPO, **more: Any) -> Any:
    return make(cls, ENV, **{**CNN, "seed": seed, "policy_kwargs": {"share_features_extractor": share}, **more})


def zip_of(source: Any, path: Path) -> Path:
    """SB3's own file with the weights of a module of ours."""
    twin = stable_baselines3.PPO(
        "CnnPolicy", envs.Image(), policy_kwargs={"share_features_extractor": source.policy.share_features_extractor},
        n_steps=4, batch_size=4, device="cpu",
    )  # fmt: skip
    twin.policy.load_state_dict(source.policy.state_dict())
    twin.save(path)
    return path


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("part", ["policy", "value"])
@pytest.mark.parametrize("kind", ["ours", "zip"])
def test_one_part_of_a_cnn_policy(tmp_path: Path, kind: str, part: str, share: bool) -> None:
    source, target = module(share), module(share, seed=6)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    config = WarmstartConfig(load=[part])
    if kind == "ours":
        report = warmstart(target, source.state_dict(), config, "there")
    else:
        report = warmstart_from_agent(target, read_agent(zip_of(source, tmp_path / "agent.zip")), config)
    other = "value" if part == "policy" else "policy"
    assert f"{other}: not loaded (not in warmstart.load)" in report.lines
    for name, each in owned_by(target).items():
        wanted = source.state_dict() if each.part == part else before
        assert torch.equal(target.state_dict()[name], wanted[name]), name


@pytest.mark.parametrize("kind", ["ours", "zip"])
def test_an_extractor_of_the_values_own_has_no_place_in_a_shared_one(tmp_path: Path, kind: str) -> None:
    source, target = module(False), module(True, seed=6)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}

    def take_over() -> None:
        if kind == "ours":
            warmstart(target, source.state_dict(), WarmstartConfig(), "there")
        else:
            warmstart_from_agent(target, read_agent(zip_of(source, tmp_path / "agent.zip")), WarmstartConfig())

    with pytest.raises(ConfigError, match="share_features_extractor: false"):
        take_over()
    assert all(torch.equal(before[name], tensor) for name, tensor in target.state_dict().items())


def test_a_shared_one_serves_both_that_are_not_shared() -> None:
    source, target = module(True), module(False, seed=6)
    warmstart(target, source.state_dict(), WarmstartConfig(), "there")
    assert all(torch.equal(tensor, target.state_dict()[name]) for name, tensor in source.state_dict().items())


def test_one_algorithm_takes_the_weights_of_the_other() -> None:
    source, target = module(True), module(True, seed=6, cls=A2C)
    warmstart(target, source.state_dict(), WarmstartConfig(), "there")
    assert all(torch.equal(tensor, target.state_dict()[name]) for name, tensor in source.state_dict().items())


def test_older_names_of_a_shared_extractor(tmp_path: Path) -> None:
    source, target = module(True), module(True, seed=6)
    agent = read_agent(zip_of(source, tmp_path / "agent.zip"))
    for name in [name for name in agent.policy if name.startswith(("pi_features", "vf_features"))]:
        del agent.policy[name]
    warmstart_from_agent(target, agent, WarmstartConfig())
    assert all(torch.equal(tensor, target.state_dict()[name]) for name, tensor in source.state_dict().items())


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    source, target = module(True), module(True, seed=6, policy_kwargs={"net_arch": {"pi": [], "vf": [3]}})
    agent = read_agent(zip_of(source, tmp_path / "agent.zip"))
    with pytest.raises(ConfigError, match=r"has no tensor 'policy\.mlp_extractor\.value_net\.0\.bias' \(3,\)"):
        warmstart_from_agent(target, agent, WarmstartConfig(load=["value"]))
    report = warmstart_from_agent(target, agent, WarmstartConfig(load=["value"], on_mismatch="skip"))
    assert "skipped policy.mlp_extractor.value_net.0.weight" in next(line for line in report.lines if "value" in line)


def test_a_part_that_is_none_is_named(cli: Cli) -> None:
    cli("fit", "--config", cli.config({"total_timesteps": 128}))
    start = cli.config({"mode": "warmstart", "warmstart": {"checkpoint": str(cli.run()), "load": ["valu"]}}, "w.yaml")
    message = cli.error("fit", "--config", start)
    assert message.startswith("warmstart.load: 'valu' is not one of policy, value, obs_moments, reward_moments.")
    assert message.endswith("Did you mean 'value'?")


def test_value_alone_from_a_run_of_images(cli: Cli) -> None:
    """As a user does it: what is said, and that the first rollout is that of the weights the run was to begin with."""
    model = {**CNN, "batch_size": 4, "n_epochs": 1, "learning_rate": 0.0, "policy_kwargs": {}}
    over = {"env": {**ENV, "id": None}, "model": {"init_args": model}, "total_timesteps": 8}
    cli("fit", "--config", cli.config(over))
    other = cli.config({**over, "seed_everything": 9}, "other.yaml")
    cli("fit", "--config", other, "--name", "fresh")
    warm = ("--mode", "warmstart", "--warmstart.checkpoint", cli.run(), "--warmstart.load", "[value]")
    done = cli("fit", "--config", other, "--name", "warm", *warm)
    assert "policy: not loaded (not in warmstart.load)" in done.out
    first, fresh, mixed = (final_state(cli.run(name))["policy"] for name in ("run", "fresh", "warm"))
    for name in mixed:  # a learning rate of 0 leaves the weights as they were
        of_value = name.startswith(("policy.value_net.", "policy.mlp_extractor.value_net."))
        assert torch.equal(mixed[name], (first if of_value else fresh)[name]), name
