"""stable-baselines3 agents on the command line: in, out, and looked at."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from stable_baselines3 import PPO as Sb3PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from lit_rl import PPO
from lit_rl.checkpoint.reader import load_lightning
from lit_rl.interop.sb3 import read_agent
from lit_rl.interop.vecnormalize import read_vecnormalize
from lit_rl.state.plain import first_difference
from tests.helpers.cli import ROOT, checkpoints, final_state, lineage, write_config
from tests.runs.conftest import Cli

DATA = next((ROOT / "tests" / "data").rglob("Pendulum-v1.zip"))
PUBLISHED = ROOT.parent / "shared" / "sb3_agents"
published = pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published agents are not here")


def drafted(cli: Cli, agent: Path = DATA, **over: Any) -> Path:
    """The run.yaml that import-sb3 writes, made short."""
    path = cli.cwd / "drafted.yaml"
    cli("import-sb3", agent, "--out", path)
    config = yaml.safe_load(path.read_text())
    config |= {"total_timesteps": 128, **over}
    path.write_text(yaml.safe_dump(config))
    return path


def test_import_writes_a_run_that_warm_starts(cli: Cli) -> None:
    config = drafted(cli)
    done = cli("fit", "--config", config, "--name", "warm")
    assert "mode: warmstart" in done.out
    for part in ("policy: 7 tensors", "value: 6 tensors", "obs_moments: 3 tensors", "reward_moments: 3 tensors"):
        assert f"{part} loaded" in done.out
    parent = lineage(cli.run("warm"))["parents"][0]
    assert parent["path"] == str(DATA)
    assert len(parent["sha256"]) == 64


def test_the_loaded_weights_and_moments_are_the_files(cli: Cli) -> None:
    config = drafted(cli)
    slow = ("--model.learning_rate", 0, "--model.cycles_per_iteration", 1, "--pause_at", 1)
    cli("fit", "--config", config, "--name", "warm", *slow, expect=75)
    state, agent = final_state(cli.run("warm")), read_agent(DATA)
    for name, tensor in agent.policy.items():
        assert torch.equal(state["policy"][f"policy.{name}"], tensor), name
    stats = read_vecnormalize(next(DATA.parent.rglob("vecnormalize.pkl")))
    count = float(state["obs_moments"]["normalizer.obs.obs.count"])
    assert count > stats.obs.count  # type: ignore[union-attr]  # trained on from the file's
    mean = state["obs_moments"]["normalizer.obs.obs.mean"].numpy()
    np.testing.assert_allclose(mean, stats.obs.mean, atol=1e-3)  # type: ignore[union-attr]


def test_missing_moments_are_an_error_that_says_where_it_looked(cli: Cli) -> None:
    config = drafted(cli)
    lonely = cli.cwd / "lonely" / "Pendulum-v1.zip"
    lonely.parent.mkdir()
    shutil.copy(DATA, lonely)
    over = ("--warmstart.checkpoint", lonely, "--warmstart.vecnormalize", "null")
    message = cli.error("fit", "--config", config, *over)
    assert str(lonely.parent / "vecnormalize.pkl") in message
    done = cli("fit", "--config", config, *over, "--warmstart.load", "[policy, value]", "--name", "new_moments")
    assert "obs_moments: not loaded" in done.out
    off = ("--env.normalize.obs", "false", "--env.normalize.reward", "false", "--warmstart.load", "[policy, value]")
    assert "env.normalize is off" in cli.error("fit", "--config", config, *over, *off)


def test_an_agent_of_another_shape_or_another_use_is_refused(cli: Cli) -> None:
    config = drafted(cli)
    message = cli.error("fit", "--config", config, "--model.policy_kwargs.net_arch", "[8]")
    assert "has shape (1, 64), this model needs (1, 8)" in message
    cartpole = write_config(cli.cwd)
    words = ("fit", "--config", cartpole, "--mode", "warmstart", "--warmstart.checkpoint", DATA)
    assert "check model.policy_kwargs and the environment" in cli.error(*words)


def test_settings_that_differ_are_named_with_both_values(cli: Cli) -> None:
    done = cli("fit", "--config", drafted(cli), "--model.gamma", 0.5)
    assert "gamma: the agent was trained with 0.99, the run is set to 0.5" in done.out


@pytest.mark.parametrize("moments", [True, False])
def test_export_and_import_are_the_identity(cli: Cli, moments: bool) -> None:
    normalize = {"obs": moments, "reward": moments}
    config = cli.config({"env": {"id": "Pendulum-v1", "max_episode_steps": 40, "normalize": normalize}})
    cli("fit", "--config", config)
    out = cli.cwd / "out" / "agent.zip"
    out.parent.mkdir()
    done = cli("export-sb3", cli.run(), "--out", out)
    assert ("agent_vecnormalize.pkl" in done.out) == moments
    stored = load_lightning(checkpoints(cli.run())[-1])
    agent = read_agent(out)
    weights = {f"policy.{name}": tensor for name, tensor in agent.policy.items()}
    theirs = {name: tensor for name, tensor in stored["state_dict"].items() if name.startswith("policy.")}
    assert first_difference(weights, theirs) is None
    model, module = Sb3PPO.load(out), PPO.load_from_checkpoint(cli.run() / "checkpoints" / "last")
    raw = np.random.default_rng(0).normal(size=(1000, 3)).astype(np.float32)
    seen = module.normalizer.normalize_obs(raw)
    if moments:
        pickle = cli.cwd / "out" / "agent_vecnormalize.pkl"
        venv = VecNormalize.load(str(pickle), DummyVecEnv([lambda: __import__("gymnasium").make("Pendulum-v1")]))
        np.testing.assert_array_equal(venv.normalize_obs(raw), seen)
    np.testing.assert_array_equal(model.predict(seen, deterministic=True)[0], module.policy_actions(seen))
    step = model.policy.optimizer.state_dict()["state"][0]["step"]
    assert float(step) == float(stored["optimizer_states"][0]["state"][0]["step"])
    words = ("--mode", "warmstart", "--warmstart.checkpoint", out, "--model.learning_rate", 0, "--pause_at", 1)
    load = "[policy, value, obs_moments, reward_moments]" if moments else "[policy, value]"
    cli("fit", "--config", config, "--name", "back", *words, "--warmstart.load", load, expect=75)
    assert first_difference(final_state(cli.run("back"))["policy"], theirs) is None


def test_show_reads_agents_and_import_names_what_it_cannot_carry(cli: Cli) -> None:
    text = cli("show", DATA).out
    assert "algorithm: a2c" in text
    assert "action_net.weight" in text
    described = json.loads(cli("show", DATA, "--json").out)
    assert described["settings"]["gamma"] == 0.99
    path = cli.cwd / "again.yaml"
    assert "not carried over: env.normalize.reward" in cli("import-sb3", DATA, "--out", path).out
    assert "is there already" in cli.error("import-sb3", DATA, "--out", path)
    assert "is not there" in cli.error("import-sb3", cli.cwd / "none.zip", "--out", cli.cwd / "x.yaml")


def test_import_zoo_writes_a_run_that_trains(cli: Cli) -> None:
    zoo = cli.cwd / "ppo.yml"
    zoo.write_text(
        "CartPole-v1:\n  n_envs: 8\n  n_timesteps: !!float 1e5\n  policy: 'MlpPolicy'\n  n_steps: 32\n"
        "  batch_size: 256\n  learning_rate: lin_0.001\n  clip_range: lin_0.2\n  normalize: true\n"
        '  policy_kwargs: "dict(net_arch=[8], activation_fn=nn.ReLU)"\n'
    )
    out = cli.cwd / "run.yaml"
    cli("import-zoo", zoo, "--env", "CartPole-v1", "--out", out)
    cli("fit", "--config", out, "--name", "zoo", "--pause_at", 1, expect=75)
    described = json.loads(cli("show", cli.run("zoo"), "--json").out)
    assert described["target"] == 100_000
    assert described["tensors"]["policy.action_net.weight"]["shape"] == [2, 8]
    assert described["settings"]["env"]["normalize"]["obs"] is True


@published
@pytest.mark.slow
@pytest.mark.parametrize(
    ("agent", "mean", "std"),
    [("ppo/CartPole-v1_1/CartPole-v1.zip", 500.0, 0.0), ("a2c/Pendulum-v1_1/Pendulum-v1.zip", -162.97, 103.21)],
)
def test_published_agents_reach_their_published_return(cli: Cli, agent: str, mean: float, std: float) -> None:
    path = PUBLISHED / agent
    out = cli.cwd / "run.yaml"
    cli("import-sb3", path, "--out", out)
    done = cli("test", "--config", out, "--ckpt_path", path, "--episodes", 100)
    line = next(line for line in done.out.splitlines() if line.startswith("return: "))
    assert abs(float(line.split()[2].rstrip(",")) - mean) <= std


@published
@pytest.mark.parametrize("agent", ["dqn/CartPole-v1_1/CartPole-v1.zip", "sac/Pendulum-v1_1/Pendulum-v1.zip"])
def test_show_reads_agents_of_other_algorithms(cli: Cli, agent: str) -> None:
    described = json.loads(cli("show", PUBLISHED / agent, "--json").out)
    assert described["tensors"]
    assert described["algorithm"] == agent.split("/")[0]
