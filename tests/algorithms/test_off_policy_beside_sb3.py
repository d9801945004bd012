"""Whole short runs: stable-baselines3's own `learn` on our environments and with our draws takes the same updates."""

from __future__ import annotations

from typing import Any

import pytest

from lit_rl import DDPG, DQN, SAC, TD3
from tests.helpers.beside_off_policy import assert_equal_runs

CASES: dict[str, tuple[type, int, dict[str, Any]]] = {
    "DQN": (DQN, 1, {"target_update_interval": 30, "exploration_fraction": 0.5}),
    "DQN, several": (DQN, 3, {"target_update_interval": 50, "gradient_steps": -1, "share_exploration": True}),
    "DQN of windows": (DQN, 2, {"n_steps": 3, "train_freq": 3, "gradient_steps": 2, "tau": 0.5}),
    "DQN by episodes": (DQN, 1, {"train_freq": (2, "episode"), "gradient_steps": 5}),
    "SAC": (SAC, 1, {}),
    "SAC, several, moments": (SAC, 2, {"gradient_steps": -1, "train_freq": 2, "ent_coef": "auto_0.5"}),
    "SAC of windows": (SAC, 2, {"n_steps": 2, "gradient_steps": 2}),
    "TD3": (TD3, 1, {"noise_type": "normal", "noise_std": 0.3}),
    "TD3, several": (TD3, 3, {"gradient_steps": 3, "policy_delay": 3}),
    "DDPG": (DDPG, 1, {"noise_type": "ornstein-uhlenbeck", "noise_std": 0.4}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_takes_the_same_updates(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_equal_runs(*CASES[case], "moments" in case, monkeypatch)
