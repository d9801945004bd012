"""ARS: who plays which candidate where, what counts meanwhile, and mistakes that are one line."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lit_rl.algorithms import ars as module
from lit_rl.algorithms.ars import ARS
from lit_rl.algorithms.trpo import TRPO
from lit_rl.envs.config import EnvConfig
from lit_rl.errors import ConfigError
from tests.helpers import envs
from tests.helpers.on_policy import make, weights

CARTPOLE: dict[str, Any] = {"id": "CartPole-v1", "n_envs": 4}
BOX: dict[str, Any] = {"class_path": envs.PATH + "NoisyBox", "n_envs": 4, "max_episode_steps": 9}


def searched(env: dict[str, Any], steps: int = 1, **settings: Any) -> ARS:
    ars = make(ARS, env, **{"n_delta": 5, "cycles_per_iteration": 1, "seed": 2, **settings})
    for _ in range(steps):
        ars.training_step(0, 0)
    return ars


def test_candidates_are_dealt_to_environments_and_those_without_one_rest() -> None:
    ars = searched({**CARTPOLE, "normalize": {"obs": True}}, n_eval_episodes=2)
    ended = ars.play.ended
    assert Counter(each.env_index for each in ended) == {0: 5, 1: 5, 2: 5, 3: 5}
    assert ars.counters.timesteps == sum(each.length for each in ended)
    assert ars.counters.episodes == 20
    looks = ars.counters.timesteps + 4  # the first observations; each later episode's comes with the step before it
    assert float(ars.normalizer.obs["obs"].count) == pytest.approx(looks, abs=0.01)
    assert ars.play.envs is not None
    assert all(len(state["actions"]) == 0 for state in ars.play.envs.capture())  # each is at an episode's begin


def test_returns_are_those_of_the_candidates_own_episodes() -> None:
    """Environment 1 of 4 plays candidates 1, 5 and 9 of 10."""
    ars = searched(CARTPOLE, 0)
    trials = ars.collect()
    played = [each.ret for each in ars.play.ended if each.env_index == 1]
    assert [trials.returns[c] for c in (1, 5, 9)] == played


@pytest.mark.parametrize("how", ["raise", "exit"])
def test_an_environment_that_is_made_anew_plays_for_its_candidate_again(how: str, tmp_path: Path) -> None:
    kwargs = {"how": how, "at": 5, "home": os.getpid(), "once": str(tmp_path / "once")}
    env = {"class_path": envs.PATH + "Fails", "n_envs": 2, "backend": "async", "n_workers": 1, "kwargs": kwargs,
           "on_env_crash": "restart", "max_episode_steps": 9}  # fmt: skip
    ars = searched(env, 2)
    lengths = [each.length for each in ars.play.ended]
    assert ars.counters.env_restarts == 1
    assert (ars.counters.episodes, len(lengths)) == (20, 10)
    assert np.isfinite(ars.metrics["rollout/return_std"])
    ars.play.close()


@pytest.mark.parametrize("name", ["n_top", "learning_rate", "delta_std", "alive_bonus_offset", "zero_policy"])
def test_settings_count(name: str) -> None:
    """Those that a run beside sb3-contrib's does not tell apart by itself."""
    other = {"n_top": 2, "learning_rate": 0.3, "delta_std": 0.4, "alive_bonus_offset": 5.0, "zero_policy": False}[name]
    one, two = searched(CARTPOLE, 2), searched(CARTPOLE, 2, **{name: other})
    assert not np.array_equal(*(weights(each.policy)["action_net.0.weight"] for each in (one, two)))


MISTAKES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "n_top": (CARTPOLE, {"n_top": 6}, "model.n_top is 6, and there are 5 directions"),
    "n_envs": ({**CARTPOLE, "n_envs": 11}, {}, r"env.n_envs is 11, .* = 10 episodes.*use 10 or fewer"),
    "rewards": ({**CARTPOLE, "normalize": {"reward": True}}, {}, "env.normalize.reward: .* set it to false"),
    "native": ({**CARTPOLE, "backend": "native"}, {}, "env.backend: native .* use backend: sync or async"),
    "actions": ({**BOX, "class_path": envs.PATH + "NoisyMultiBinary"}, {}, "ARS is for Box and Discrete actions"),
    "Dict": ({**BOX, "class_path": envs.PATH + "NoisyDict"}, {}, "not for Dict observations"),
    "deltas": (CARTPOLE, {"delta_std": 0.0}, "model.delta_std"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_one_line(case: str) -> None:
    env, settings, said = MISTAKES[case]
    with pytest.raises(ConfigError, match=said):
        searched(env, **settings)


def test_episodes_that_never_end_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST", 50)
    with pytest.raises(ConfigError, match=r"no episode of .* has ended within 50 steps.*env.max_episode_steps"):
        searched({"class_path": envs.PATH + "Endless", "n_envs": 2}, n_delta=1)


def test_trpo_has_no_compiled_networks_and_no_masks() -> None:
    with pytest.raises(ConfigError, match=r"model\.fast"):
        TRPO(env=EnvConfig(id="CartPole-v1"), fast="compile")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"env\.action_masks"):
        TRPO(env=EnvConfig(id="CartPole-v1", action_masks=True))
