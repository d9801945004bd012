"""`lit-rl export`: a file that acts as the policy does, without lit_rl; wrong input in one line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import lit_rl
from lit_rl.algorithms import algorithms
from lit_rl.errors import DataError
from lit_rl.inference import export as exporting
from lit_rl.interop.settings import sb3_class
from tests.helpers.cli import ROOT
from tests.inference.conftest import ALGORITHMS, CONFIGS
from tests.runs.conftest import Cli

ZIP = next((ROOT / "tests" / "data").rglob("Pendulum-v1.zip"))
FORMATS = ["onnx", "torchscript"]


def act(file: Path, *inputs: np.ndarray) -> np.ndarray:
    """Actions of an exported file, by nothing but torch or onnxruntime."""
    if file.suffix == ".pt":
        return torch.jit.load(file)(*map(torch.from_numpy, inputs)).numpy()  # type: ignore[no-untyped-call]
    session = pytest.importorskip("onnxruntime").InferenceSession(file)
    names = [each.name for each in session.get_inputs()]
    actions: np.ndarray = session.run(None, dict(zip(names, inputs, strict=True)))[0]
    return actions


def out_file(file_format: str) -> str:
    if file_format == "onnx":
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
    return "policy.onnx" if file_format == "onnx" else "policy.pt"


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_it_acts_as_the_policy_does(cli: Cli, trained: Callable[..., Path], name: str, file_format: str) -> None:
    run, out = trained(name), cli.cwd / out_file(file_format)
    done = cli("export", run, "--format", file_format, "--out", out)
    assert "its actions are ours for 256 observations that it meets" in done.out
    agent = lit_rl.load(run)
    env = gym.make(CONFIGS[name]["env"]["id"])
    obs = np.stack([env.reset(seed=i)[0] for i in range(50)])
    expected = agent.predict(obs, deterministic=True)[0]
    found = act(out, obs)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(act(out, obs[:1]), expected[:1], atol=1e-5)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_sb3_is_a_format_and_export_sb3_its_name(cli: Cli, trained: Callable[..., Path], name: str) -> None:
    run = trained(name)
    cli("export", run, "--format", "sb3", "--out", cli.cwd / "one.zip")
    cli("export-sb3", run, "--out", cli.cwd / "two.zip")
    one, two = (sb3_class(algorithms()[name]).load(cli.cwd / f"{which}.zip") for which in ("one", "two"))
    assert all(torch.equal(a, b) for a, b in zip(one.policy.parameters(), two.policy.parameters(), strict=True))
    assert (cli.cwd / "one_vecnormalize.pkl").exists() == ("normalize" in CONFIGS[name]["env"])


SPACES: dict[str, dict[str, Any]] = {
    "dict": {"env": {"class_path": "lit_rl.envs.examples.reach.Reach", "n_envs": 2}},
    "starts": {"env": {"class_path": "tests.helpers.envs.StartsAtOne", "n_envs": 2}},
    "whole": {"env": {"class_path": "tests.helpers.envs.Integers", "n_envs": 2}},
    "stacked": {"env": {"id": "Pendulum-v1", "n_envs": 2, "frame_stack": 3, "normalize": {"obs": True}}},
    "image": {
        "env": {"class_path": "tests.helpers.envs.Image", "n_envs": 2, "frame_stack": 2, "max_episode_steps": 30}
    },
}
for _case, _policy in (("dict", "MultiInputPolicy"), ("image", "CnnPolicy")):
    SPACES[_case]["model"] = {
        "class_path": "PPO",
        "init_args": {"policy": _policy, "n_steps": 32, "batch_size": 64, "n_epochs": 1},
    }


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("case", SPACES)
def test_other_spaces(cli: Cli, trained: Callable[..., Path], case: str, file_format: str) -> None:
    run, out = trained(case, SPACES[case]), cli.cwd / out_file(file_format)
    done = cli("export", run, "--format", file_format, "--out", out)
    assert "that it meets" in done.out


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_zip_of_stable_baselines3(cli: Cli, file_format: str) -> None:
    out = cli.cwd / out_file(file_format)
    assert "drawn from its space" in cli("export", ZIP, "--format", file_format, "--out", out).out
    obs = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, -3.0]], np.float32)
    np.testing.assert_allclose(act(out, obs), lit_rl.load(ZIP).predict(obs, deterministic=True)[0], atol=1e-5)


def test_a_file_says_what_it_is(cli: Cli, trained: Callable[..., Path]) -> None:
    out = cli.cwd / "policy.pt"
    cli("export", trained("PPO"), "--which", "last", "--format", "torchscript", "--out", out)
    extra = {exporting.ENTRY: ""}
    torch.jit.load(out, _extra_files=extra)  # type: ignore[no-untyped-call]
    said = json.loads(extra[exporting.ENTRY])
    assert (said["algorithm"], said["env"], said["timesteps"]) == ("PPO", "CartPole-v1", 128)


def test_other_actions_are_not_written(trained: Callable[..., Path], tmp_path: Path) -> None:
    agent = lit_rl.load(trained("SAC"))
    agent.module.unscaled = lambda scaled: 0.5 * scaled  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"gives other actions, by .*; nothing was written"):
        exporting.export(agent, "torchscript", tmp_path / "policy.pt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ("{run}", "--format", "torchscript", "--out", "there.pt"),
            "is there already; name another file, or give --ov",
        ),
        (("{run}", "--format", "sb3", "--out", "there.pt"), "is there already; name another file, or give --overwrite"),
        (("{run}", "--format", "torchscript", "--out", "nowhere/p.pt"), "lies in a directory that is not there"),
        (("{run}", "--format", "torchscript", "--out", "."), "is a directory; name a file in it"),
        (("nothing", "--format", "torchscript", "--out", "p.pt"), "'nothing' is not there"),
        (("there.pt", "--format", "torchscript", "--out", "p.pt"), "Name another checkpoint"),
        (("{zip}", "--format", "sb3", "--out", "a.zip"), "is a stable-baselines3 file already"),
    ],
)
def test_mistakes_are_one_line(cli: Cli, trained: Callable[..., Path], words: tuple[str, ...], says: str) -> None:
    Path("there.pt").write_text("somebody's")
    message = cli.error("export", *(word.format(run=trained("PPO"), zip=ZIP) for word in words))
    assert says in message
    assert "\n" not in message
    if words[-1] == "there.pt" and words[2] == "torchscript":
        cli("export", trained("PPO"), *words[1:], "--overwrite")


def test_a_missing_package_is_named(cli: Cli, trained: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    message = cli.error("export", trained("PPO"), "--format", "onnx", "--out", "p.onnx")
    assert "install it with `pip install 'lit-rl[onnx]'`" in message
