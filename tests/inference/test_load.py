"""`lit_rl.load`: what it takes, that raw observations are enough, and that nothing in a file is run."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3 as sb3
import torch
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

import lit_rl
from lit_rl.algorithms import algorithms
from lit_rl.checkpoint.store import CheckpointStore
from lit_rl.errors import ConfigError
from lit_rl.interop.settings import sb3_class
from tests.helpers.cli import ROOT
from tests.inference.conftest import ALGORITHMS, CONFIGS

DATA = ROOT / "tests" / "data"
ZIP = next(DATA.rglob("Pendulum-v1.zip"))


def _observations(run_env: dict[str, Any], n: int = 40) -> np.ndarray:
    env = gym.make(run_env["id"])
    env.action_space.seed(0)
    seen = [env.reset(seed=0)[0]]
    while len(seen) < n:
        seen.append(env.step(env.action_space.sample())[0])
    return np.stack(seen)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_raw_observations_are_enough(trained: Callable[..., Path], name: str) -> None:
    """What it does is what the module does with the same observations normalised with the run's moments."""
    run = trained(name)
    agent = lit_rl.load(run)
    obs = _observations(CONFIGS[name]["env"])
    module = algorithms()[name].load_from_checkpoint(agent.path)
    expected = module.policy_actions(module.normalizer.normalize_obs(obs))
    actions, state = agent.predict(obs, deterministic=True)
    np.testing.assert_array_equal(actions, expected)
    assert state is None
    single, _ = agent.predict(obs[3], deterministic=True)
    np.testing.assert_allclose(single, expected[3], rtol=1e-5)
    assert all(agent.action_space.contains(action) for action in actions)
    np.testing.assert_array_equal(module.predict(obs, deterministic=True)[0], expected)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_drawn_actions_follow_the_seed(trained: Callable[..., Path], name: str) -> None:
    agent = lit_rl.load(trained(name))
    obs = _observations(CONFIGS[name]["env"], 200)
    drawn = []
    for seed in (1, 1, 2):
        agent.set_random_seed(seed)
        drawn.append(agent.predict(obs)[0])
    np.testing.assert_array_equal(drawn[0], drawn[1])
    noiseless = name in ("TD3", "DDPG", "ARS")  # as in stable-baselines3, whose policies have no noise of their own
    assert np.array_equal(drawn[0], drawn[2]) == noiseless


@pytest.mark.parametrize("name", ALGORITHMS)
def test_stable_baselines3_evaluates_it(trained: Callable[..., Path], name: str) -> None:
    agent, env_id = lit_rl.load(trained(name)), CONFIGS[name]["env"]["id"]
    plain = evaluate_policy(agent, gym.make(env_id, max_episode_steps=30), n_eval_episodes=2, warn=False)
    several = evaluate_policy(agent, make_vec_env(env_id, 2), n_eval_episodes=2, deterministic=False)
    assert np.isfinite([*plain, *several]).all()


def test_a_run_means_its_best_checkpoint_and_says_so(
    trained: Callable[..., Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = trained("PPO")
    inventory = CheckpointStore(run / "checkpoints").inventory()
    best, last = inventory.best(), inventory.checkpoints[0]
    assert best is not None
    agent = lit_rl.load(run)
    assert agent.path == best.path
    assert f"best checkpoint of {run}: {best.path.name}" in capsys.readouterr().out
    assert lit_rl.load(run, which="last").path == last.path
    assert lit_rl.load(last.path).path == last.path.resolve()
    bare = tmp_path / "policy.ckpt"
    shutil.copy(last.lightning_file, bare)
    assert lit_rl.load(bare).timesteps == last.manifest.timesteps
    with pytest.raises(ConfigError, match="which is for a run directory"):
        lit_rl.load(bare, which="best")


def test_a_damaged_checkpoint_is_passed_over(
    trained: Callable[..., Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = shutil.copytree(trained("PPO"), tmp_path / "run", symlinks=True)
    newest = CheckpointStore(run / "checkpoints").inventory().checkpoints[0]
    data = bytearray(newest.lightning_file.read_bytes())
    data[len(data) // 2] ^= 1
    newest.lightning_file.write_bytes(data)
    assert lit_rl.load(run, which="last").path != newest.path
    assert "WARNING: digest mismatch" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"digest mismatch .* Name another checkpoint") as error:
        lit_rl.load(newest.path)
    assert "\n" not in str(error.value)


def test_no_environment_is_made_and_nothing_global_drawn(
    trained: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained("SAC")
    monkeypatch.setattr(gym, "make", lambda *_, **__: pytest.fail("an environment was made"))
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    began = time.monotonic()
    agent = lit_rl.load(run)
    assert time.monotonic() - began < 1.0
    agent.predict(np.zeros(3, np.float32))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_a_large_replay_is_not_made(trained: Callable[..., Path]) -> None:
    agent: Any = lit_rl.load(trained("DQN"))
    assert agent.module.replay.rows <= 1


@pytest.mark.parametrize("golden", sorted(DATA.glob("format_*")), ids=lambda path: path.name)
def test_checkpoints_of_earlier_versions_are_loaded(golden: Path) -> None:
    agent = lit_rl.load(golden / "run")
    action, _ = agent.predict(agent.observation_space.sample())
    assert agent.action_space.contains(action)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_zip_of_stable_baselines3_acts_as_it_does_there(tmp_path: Path, name: str) -> None:
    env_id = CONFIGS[name]["env"]["id"]
    theirs = sb3_class(algorithms()[name])("MlpPolicy", env_id, seed=0)
    theirs.save(tmp_path / "agent.zip")
    agent = lit_rl.load(tmp_path / "agent.zip")
    obs = _observations({"id": env_id})
    np.testing.assert_allclose(
        agent.predict(obs, deterministic=True)[0], theirs.predict(obs, deterministic=True)[0], 1e-5
    )
    assert agent.action_space == theirs.action_space


def test_a_zip_brings_its_moments() -> None:
    agent = lit_rl.load(ZIP)
    obs = _observations({"id": "Pendulum-v1"})
    venv = VecNormalize.load(str(ZIP.with_suffix("") / "vecnormalize.pkl"), make_vec_env("Pendulum-v1"))
    theirs = sb3.A2C.load(ZIP)
    expected = theirs.predict(venv.normalize_obs(obs), deterministic=True)[0]
    np.testing.assert_allclose(agent.predict(obs, deterministic=True)[0], expected, rtol=1e-5)


def test_a_zip_without_its_moments_is_refused(tmp_path: Path) -> None:
    lonely = tmp_path / "lonely" / "agent.zip"
    lonely.parent.mkdir()
    shutil.copy(ZIP, lonely)
    with pytest.raises(ConfigError, match=r"was trained with VecNormalize.* give its path"):
        lit_rl.load(lonely)
    assert lit_rl.load(lonely, vecnormalize=ZIP.with_suffix("") / "vecnormalize.pkl").algorithm == "A2C"


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("nothing", "is not there"),
        ("folder", "neither a checkpoint .* nor a run directory"),
        ("text.ckpt", "Name another checkpoint"),
        ("text.zip", "Name another checkpoint"),
        ("foreign.ckpt", "was not written by lit_rl"),
        ("https://example.com/a.zip", "remote address"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, says: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    for name in ("text.ckpt", "text.zip"):
        Path(name).write_text("no checkpoint")
    torch.save({"state_dict": {}, "hyper_parameters": {}}, "foreign.ckpt")
    with pytest.raises(ConfigError, match=says) as error:
        lit_rl.load(what)
    assert "\n" not in str(error.value)


def test_a_class_that_only_the_file_names_is_not_imported(
    trained: Callable[..., Path], tmp_path: Path, marker: Path
) -> None:
    agent = lit_rl.load(trained("PPO"))
    state = torch.load(agent.path / "lightning.ckpt", weights_only=True)
    evil = tmp_path / "evil.py"
    evil.write_text(f"open({str(marker)!r}, 'w')")
    state["hyper_parameters"]["policy_kwargs"] = {"features_extractor_class": "evil.Extractor"}
    torch.save(state, tmp_path / "evil.ckpt")
    with pytest.raises(ConfigError, match=r"names the class 'evil.Extractor'.* give load\(path, settings="):
        lit_rl.load(tmp_path / "evil.ckpt")
    state["hyper_parameters"]["policy_kwargs"] = {}
    state["lit_rl"]["algorithm"] = "evil.Algorithm"
    torch.save(state, tmp_path / "evil.ckpt")
    with pytest.raises(ConfigError, match="is not imported because a file names it"):
        lit_rl.load(tmp_path / "evil.ckpt")


def test_training_does_not_notice_a_prediction(trained: Callable[..., Path]) -> None:
    module = lit_rl.load(trained("PPO")).module
    module.train(True)
    count = float(module.normalizer.obs["obs"].count)
    module.predict(np.zeros((5, 4), np.float32))
    assert module.training
    assert module.policy.training
    assert float(module.normalizer.obs["obs"].count) == count
