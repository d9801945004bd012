"""Whole runs equal sb3-contrib's ARS: the same environments, directions and episodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sb3_contrib import ARS as Theirs
from stable_baselines3.common.logger import Logger

from lit_rl.algorithms.ars import ARS
from lit_rl.interop.settings import kinds
from tests.helpers import envs
from tests.helpers.beside_sb3 import AsVecEnv
from tests.helpers.on_policy import make, weights

CARTPOLE = {"id": "CartPole-v1"}
BOX = {"class_path": envs.PATH + "NoisyBox", "max_episode_steps": 9}
DISCRETE = {"class_path": envs.PATH + "Noisy", "max_episode_steps": 9}
MLP = {"policy": "MlpPolicy", "zero_policy": False, "policy_kwargs": {"net_arch": [8]}}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "linear": (CARTPOLE, {}),
    "linear Box": (BOX, {}),
    "perceptron": (DISCRETE, MLP),
    "perceptron Box": (BOX, {**MLP, "delta_std": 0.5}),
    "clipped": (BOX, {**MLP, "policy_kwargs": {"net_arch": [8], "squash_output": False}, "delta_std": 2.0}),
    "tanh": (BOX, {**MLP, "policy_kwargs": {"net_arch": [6, 6], "activation_fn": "torch.nn.Tanh"}}),
    "softsign": (BOX, {**MLP, "policy_kwargs": {"net_arch": [6], "activation_fn": "torch.nn.Softsign"}}),
    "with bias": (BOX, {"policy_kwargs": {"with_bias": True, "squash_output": True}}),
    "best of them": (BOX, {"n_delta": 5, "n_top": 2}),
    "several episodes": (BOX, {"n_eval_episodes": 3}),
    "offset": (CARTPOLE, {"alive_bonus_offset": -0.9, "n_eval_episodes": 2}),
    "schedules": (BOX, {"learning_rate": "lin_0.3", "delta_std": "lin_0.2", "total_timesteps": 600}),
    "numbers as observations": ({"id": "CliffWalking-v1", "max_episode_steps": 9}, {}),
}


def beside(env: dict[str, Any], settings: dict[str, Any], monkeypatch: Any, steps: int = 5) -> tuple[ARS, Any, Any]:
    """Ours and theirs after so many steps of the search, and what theirs logged."""
    env = {"n_envs": 1, **env}
    settings = {"n_delta": 3, "learning_rate": 0.1, "delta_std": 0.2, "total_timesteps": 100_000, "seed": 5, **settings}
    ours, other = make_ars(env, settings), make_ars(env, settings)
    numbers = iter(range(steps))

    def normal(mean: float, std: float, size: tuple[int, int], device: Any) -> torch.Tensor:
        drawn = other.stream("directions", next(numbers)).standard_normal(size, dtype=np.float32)
        return torch.from_numpy(drawn)

    given = {name: settings[name] for name in kinds(ARS) if name in settings}
    schedules = {name: getattr(ours, name) for name in ("learning_rate", "delta_std")}
    theirs = Theirs(
        settings.get("policy", "LinearPolicy"), AsVecEnv(other.play), policy_kwargs=ours.policy_kwargs,
        device="cpu", **{**given, **schedules},
    )  # fmt: skip
    theirs.set_logger(Logger(folder=None, output_formats=[]))
    theirs.policy.load_state_dict(other.policy.state_dict())
    theirs.weights = torch.nn.utils.parameters_to_vector(theirs.policy.parameters()).detach()
    monkeypatch.setattr("sb3_contrib.ars.ars.th.normal", normal)
    total = settings["total_timesteps"]
    _, callback = theirs._setup_learn(total, None)
    for _ in range(steps):
        ours.training_step(0, 0)
        theirs._update_current_progress_remaining(theirs.num_timesteps, total)
        theirs._do_one_update(callback, None)
    return ours, theirs, dict(theirs.logger.name_to_value)


def make_ars(env: dict[str, Any], settings: dict[str, Any]) -> ARS:
    return make(ARS, env, **{"cycles_per_iteration": 1, **settings})


@pytest.mark.parametrize("case", CASES)
def test_a_run_equals_contribs(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    env, settings = CASES[case]
    ours, theirs, logged = beside(env, settings, monkeypatch)
    assert ours.counters.timesteps == theirs.num_timesteps > 0
    before = make_ars({"n_envs": 1, **env}, {"seed": 5, **settings})
    moved = 0.0
    for (name, one), other in zip(weights(ours.policy).items(), theirs.policy.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, msg=name)
        moved = max(moved, float((one - before.policy.state_dict()[name]).abs().max()))
    assert moved > 1e-3
    for key, value in logged.items():
        assert ours.metrics[key] == pytest.approx(value, rel=1e-4), key
    assert {"train/iterations", "train/delta_std", "train/learning_rate", "train/step_size", "rollout/return_std"} == {
        *logged
    }
    assert ours.metrics["rollout/ep_rew_mean"] == pytest.approx(
        np.mean([each["r"] for each in theirs.ep_info_buffer]), rel=1e-4
    )
