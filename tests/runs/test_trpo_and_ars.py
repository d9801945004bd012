"""TRPO and ARS: stopped, killed, on several ranks and gone on with, all to the bit; mistakes are one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from stable_baselines3.common.env_util import make_vec_env

import lit_rl as lit_rl_package
from lit_rl.state.plain import first_difference
from tests.helpers import envs
from tests.helpers.cli import final_state, kill_at_random, lit_rl, metrics, same_runs
from tests.runs.conftest import Cli

sb3_contrib = pytest.importorskip("sb3_contrib")

BOX, DISCRETE = (envs.PATH + name for name in ("NoisyBox", "Noisy"))
MOMENTS = {"normalize": {"obs": True}}
TWO = ("--trainer.devices", 2, "--trainer.accelerator", "cpu", "--trainer.strategy", "ddp")


def config_of(algorithm: str, env: dict[str, Any], **settings: Any) -> dict[str, Any]:
    common: dict[str, Any] = {
        "n_steps": 16,
        "batch_size": 12,
        "n_critic_updates": 2,
        "policy_kwargs": {"net_arch": [8]},
    }
    if algorithm == "ARS":
        common = {"n_delta": 3, "cycles_per_iteration": 1}
    return {
        "name": "run",
        "seed_everything": 1,
        "total_timesteps": 480,
        "env": {"backend": "sync", "n_envs": 4, "max_episode_steps": 11, **env},
        "model": {"class_path": algorithm, "init_args": {**common, **settings}},
        "checkpoint": {"every_timesteps": 96, "keep_last": 10},
    }


PERCEPTRON: dict[str, Any] = {"policy": "MlpPolicy", "zero_policy": False, "policy_kwargs": {"net_arch": [8]}}
CASES: dict[str, dict[str, Any]] = {
    "TRPO": config_of("TRPO", {"class_path": BOX, "normalize": {"obs": True, "reward": True}}),
    "TRPO, autograd": config_of("TRPO", {"class_path": DISCRETE}, fast=False, sub_sampling_factor=3),
    "TRPO, gSDE": config_of("TRPO", {"class_path": BOX}, use_sde=True, sde_sample_freq=5),
    "TRPO, images": config_of("TRPO", {"class_path": envs.PATH + "SmallImages"}, policy="CnnPolicy", policy_kwargs={}),
    "ARS": config_of("ARS", {"class_path": BOX, **MOMENTS}, **PERCEPTRON),
    "ARS, linear": config_of("ARS", {"class_path": DISCRETE, "n_envs": 1}, cycles_per_iteration=3),
    "ARS, several episodes": config_of(
        "ARS", {"class_path": BOX, "n_envs": 5, **MOMENTS}, n_eval_episodes=3, delta_std="lin_0.3", n_top=2
    ),
}
QUICK = ("TRPO", "ARS")


def write(cli: Cli, case: str, **over: Any) -> Path:
    path = cli.cwd / "run.yaml"
    path.write_text(yaml.safe_dump({**CASES[case], **over}))
    return path


@pytest.mark.parametrize("case", [pytest.param(c, marks=() if c in QUICK else pytest.mark.slow) for c in CASES])
def test_stops_change_nothing(cli: Cli, case: str) -> None:
    config = write(cli, case)
    cli("fit", "--config", config, "--name", "straight")
    cli("fit", "--config", config, "--pause_at", 40, expect=75)
    cli("fit", "--config", config, "--mode", "resume", "--pause_at", 200, expect=75)
    cli("fit", "--config", config, "--mode", "resume")
    same_runs(cli.run(), cli.run("straight"))


@pytest.mark.slow
@pytest.mark.parametrize("case", ["TRPO", "ARS"])
def test_kills_at_random_change_nothing(cli: Cli, case: str) -> None:
    config = write(cli, case, total_timesteps=4800, checkpoint={"every_timesteps": 48, "keep_last": 3})
    cli("fit", "--config", config, "--name", "straight")
    words = ("fit", "--config", config, "--requeue", "true")
    kill_at_random(*words, cwd=cli.cwd, run=cli.run(), seed=case, most=5)
    cli(*words)
    same_runs(cli.run(), cli.run("straight"))


@pytest.mark.slow
@pytest.mark.parametrize("case", ["TRPO", "ARS"])
def test_two_ranks_are_exact(cli: Cli, case: str) -> None:
    config = write(cli, case)
    lit_rl("fit", "--config", config, *TWO, "--name", "straight", cwd=cli.cwd)
    lit_rl("fit", "--config", config, *TWO, "--pause_at", 200, cwd=cli.cwd, expect=75)
    lit_rl("fit", "--config", config, *TWO, "--mode", "resume", cwd=cli.cwd)
    same_runs(cli.run(), cli.run("straight"))


@pytest.mark.slow
def test_any_number_of_ranks_gives_the_same_search(cli: Cli) -> None:
    """Without moments: which environment plays which candidate depends on counters alone."""
    settings = {"env": {**CASES["ARS"]["env"], "normalize": {}}}
    config = write(cli, "ARS", **settings)
    cli("fit", "--config", config, "--name", "straight")
    lit_rl("fit", "--config", config, *TWO, cwd=cli.cwd)
    one, two = (final_state(each)["policy"] for each in (cli.run("straight"), cli.run()))
    assert first_difference(one, two, "policy") is None
    assert metrics(cli.run("straight")) == metrics(cli.run())


@pytest.mark.slow
def test_fixed_pieces_give_any_number_of_ranks_the_same_step(cli: Cli) -> None:
    config = write(cli, "TRPO")
    words = ("fit", "--config", config, "--model.deterministic_reduction", "true")
    cli(*words, "--name", "straight")
    lit_rl(*words, *TWO, cwd=cli.cwd)
    one, two = (final_state(each)["policy"] for each in (cli.run("straight"), cli.run()))
    assert first_difference(one, two, "policy") is None


@pytest.mark.parametrize("case", ["TRPO", "ARS"])
def test_workers_give_the_same_bits(cli: Cli, case: str) -> None:
    config = write(cli, case, total_timesteps=200)
    cli("fit", "--config", config, "--name", "straight")
    cli("fit", "--config", config, "--env.backend", "async", "--env.n_workers", 2)
    same_runs(cli.run(), cli.run("straight"))


@pytest.mark.parametrize("case", ["TRPO", "ARS"])
def test_sb3_contrib_goes_on_with_it_and_it_goes_on_with_theirs(cli: Cli, case: str) -> None:
    """Weights, moments of the critic's optimizer, and settings, there and back."""
    name, env = case, {"id": "Pendulum-v1", "n_envs": 2, "max_episode_steps": 20}
    config = write(cli, case, env=env, total_timesteps=240)
    cli("fit", "--config", config)
    cli("export-sb3", cli.run(), "--which", "last", "--out", "agent.zip")
    theirs: Any = getattr(sb3_contrib, name).load("agent.zip", make_vec_env("Pendulum-v1", 2))
    obs = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    ours = lit_rl_package.load(cli.run(), which="last")
    for agent in (ours, lit_rl_package.load("agent.zip")):
        np.testing.assert_allclose(
            agent.predict(obs, deterministic=True)[0], theirs.predict(obs, deterministic=True)[0], rtol=1e-4, atol=1e-5
        )
    assert theirs.num_timesteps == {"TRPO": 256, "ARS": 240}[name]
    if name == "TRPO":
        assert {len(part) for part in theirs.policy.optimizer.state_dict()["state"].values()} == {3}
    before = theirs.policy.state_dict()["action_net.0.weight" if name == "ARS" else "action_net.weight"].clone()
    theirs.learn(240, reset_num_timesteps=False)
    theirs.save("further.zip")
    done = cli("adopt", "further.zip", "--env", "Pendulum-v1", "--out", "lightning_logs/adopted")
    assert name != "TRPO" or "4 moments loaded" in done.out
    assert "WARNING: optimizer" not in done.out
    further = lit_rl_package.load(cli.run("adopted"))
    np.testing.assert_allclose(
        further.predict(obs, deterministic=True)[0], theirs.predict(obs, deterministic=True)[0], rtol=1e-4, atol=1e-5
    )
    assert not torch.equal(before, next(iter(further.module.policy.action_net.parameters())))


@pytest.mark.parametrize(("name", "env"), [("TRPO", "Ant-v5"), ("ARS", "Pendulum-v1"), ("ARS", "Acrobot-v1")])
def test_the_zoos_settings(cli: Cli, name: str, env: str) -> None:
    cli("init", env, "--algorithm", name, "--out", "new.yaml")
    tree = yaml.safe_load(Path("new.yaml").read_text())
    assert tree["model"]["class_path"] == name
    wanted = {"cg_max_steps": 25, "n_critic_updates": 20} if name == "TRPO" else {"n_top": 1, "delta_std": 0.1}
    assert tree["model"]["init_args"].items() >= wanted.items()
    assert tree["env"]["normalize"].items() >= {"obs": True, "reward": name == "TRPO"}.items()


def test_what_suits_an_environment_that_the_zoo_has_no_search_for(cli: Cli) -> None:
    cli("init", "--algorithm", "ARS", "--out", "new.yaml", "Reacher-v5")
    tree = yaml.safe_load(Path("new.yaml").read_text())
    assert tree["env"]["n_envs"] == 4
    assert tree["model"]["init_args"]["policy"] == "LinearPolicy"


def test_settings_of_ars_may_change_at_a_resume(cli: Cli) -> None:
    """It has no optimizer, whose state would have to be carried."""
    words = ("fit", "--config", write(cli, "ARS"), "--resume.on_config_change", "accept")
    cli(*words, "--pause_at", 100, expect=75)
    done = cli(*words, "--mode", "resume", "--model.learning_rate", 0.5)
    assert "finished: timestep" in done.out
