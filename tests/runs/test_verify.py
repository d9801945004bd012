"""`lit-rl verify`: runs stopped three times equal runs that were not, to the bit, each in a process of its own."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers.cli import lit_rl, write_config

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]

ENVS = "tests.helpers.envs"


def needs(*modules: str) -> pytest.MarkDecorator:
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")


def case(name: str, env: dict[str, Any], *marks: Any, **init_args: Any) -> Any:
    return pytest.param(env, init_args, id=name, marks=marks)


CASES = [
    case("cartpole", {"id": "CartPole-v1"}),
    case("cartpole-async", {"id": "CartPole-v1", "backend": "async", "n_workers": 2}),
    case("cartpole-native", {"id": "CartPole-v1", "backend": "native"}),
    case("acrobot", {"id": "Acrobot-v1", "max_episode_steps": 40}),
    case("lunarlander", {"id": "LunarLander-v3"}, needs("Box2D"), n_steps=64),
    case("bipedal-fresh-instance", {"id": "BipedalWalker-v3", "fresh_instance": True}, needs("Box2D"), n_steps=64),
    case(
        "halfcheetah-moments",
        {"id": "HalfCheetah-v5", "max_episode_steps": 70, "normalize": {"obs": True, "reward": True}},
        needs("mujoco"),
    ),
    case(
        "halfcheetah-async",
        {"id": "HalfCheetah-v5", "backend": "async", "n_workers": 2, "normalize": {"obs": True, "reward": True}},
        needs("mujoco"),
    ),
    case(
        "pendulum-gsde",
        {"id": "Pendulum-v1", "max_episode_steps": 50, "normalize": {"obs": True}},
        use_sde=True,
        sde_sample_freq=8,
    ),
    case(
        "dict-moments",
        {"class_path": f"{ENVS}.DictWalk", "max_episode_steps": 25, "normalize": {"obs": True}},
        policy="MultiInputPolicy",
    ),
    case(
        "image",
        {"class_path": f"{ENVS}.Image", "max_episode_steps": 20},
        policy="CnnPolicy",
        policy_kwargs=None,
        n_steps=16,
    ),
    case("multidiscrete", {"class_path": f"{ENVS}.MultiDiscreteWalk", "max_episode_steps": 25}),
    case("noise-wrapper", {"class_path": f"{ENVS}.Walk", "wrappers": [{"class_path": f"{ENVS}.NoiseWrapper"}]}),
    case(
        "pong-atari",
        {"id": "ALE/Pong-v5", "atari": True, "n_envs": 2},
        needs("ale_py", "cv2"),
        policy="CnnPolicy",
        policy_kwargs=None,
        n_steps=24,
        batch_size=16,
    ),
]


A2C_CASES = [
    case("cartpole", {"id": "CartPole-v1"}),
    case(
        "pendulum-gsde-moments",
        {"id": "Pendulum-v1", "max_episode_steps": 50, "normalize": {"obs": True, "reward": True}},
        use_sde=True,
        n_steps=8,
    ),
    case(
        "dict-moments",
        {"class_path": f"{ENVS}.NoisyDict", "max_episode_steps": 25, "normalize": {"obs": True}},
        policy="MultiInputPolicy",
        policy_kwargs={"optimizer_class": "stable_baselines3.common.sb2_compat.rmsprop_tf_like.RMSpropTFLike"},
        cycles_per_iteration=6,
    ),
    case(
        "pong-atari",
        {"id": "ALE/Pong-v5", "atari": True, "n_envs": 2},
        needs("ale_py", "cv2"),
        policy="CnnPolicy",
        cycles_per_iteration=4,
    ),
]


@pytest.mark.parametrize(("env", "init_args"), A2C_CASES)
def test_a2c(tmp_path: Path, env: dict[str, Any], init_args: dict[str, Any]) -> None:
    config = write_config(tmp_path, {"env": {"id": None, **env}, "total_timesteps": 100_000})
    plain = yaml.safe_load(config.read_text())
    plain["model"] = {"class_path": "A2C", "init_args": {"learning_rate": "lin_0.001", **init_args}}
    config.write_text(yaml.safe_dump(plain))
    done = lit_rl("verify", "--config", config, "--stops", 3, "--iterations", 6, cwd=tmp_path)
    assert "boundary" not in done.stdout
    assert done.stdout.count("stopped at timestep") == 3
    assert done.stdout.splitlines()[-1] == "exact: every part of the state is equal to the bit"


@pytest.mark.parametrize(("env", "init_args"), CASES)
def test_three_stops_change_nothing(tmp_path: Path, env: dict[str, Any], init_args: dict[str, Any]) -> None:
    config = write_config(
        tmp_path,
        {
            "env": {"id": None, **env},
            "model": {"init_args": {"learning_rate": "lin_0.001", **init_args}},
            "total_timesteps": 4096,
        },
    )
    done = lit_rl("verify", "--config", config, "--stops", 3, "--iterations", 6, cwd=tmp_path)
    assert "boundary" not in done.stdout
    assert done.stdout.count("stopped at timestep") == 3
    assert done.stdout.splitlines()[-1] == "exact: every part of the state is equal to the bit"


def test_an_environment_that_carries_state_is_found_out(tmp_path: Path) -> None:
    """What its seed does not set cannot come back: the difference is named, and so is the grade."""
    config = write_config(
        tmp_path, {"env": {"id": None, "class_path": f"{ENVS}.CarriesState", "max_episode_steps": 25}}
    )
    done = lit_rl("verify", "--config", config, cwd=tmp_path, expect=1)
    assert "resume grade boundary" in done.stdout
    assert "env.fresh_instance: true" in done.stdout
    assert done.stderr.startswith("error: NOT EXACT at timestep")
    fresh = write_config(
        tmp_path,
        {"env": {"id": None, "class_path": f"{ENVS}.CarriesState", "max_episode_steps": 25, "fresh_instance": True}},
    )
    lit_rl("verify", "--config", fresh, cwd=tmp_path)


def test_a_run_that_is_over_at_once_has_nothing_to_resume(tmp_path: Path) -> None:
    config = write_config(tmp_path, {"total_timesteps": 128})
    done = lit_rl("verify", "--config", config, cwd=tmp_path, expect=2)
    assert "nothing can be resumed: the run is at its target, 128, within one iteration" in done.stderr
