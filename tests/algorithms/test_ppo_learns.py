"""PPO learns small tasks in seconds; a flipped sign in a loss or in the advantages fails here."""

import numpy as np
import pytest
import torch

from tests.helpers import envs
from tests.helpers.on_policy import iterate, make_ppo

pytestmark = pytest.mark.learning


def test_discrete_actions_learn_the_context():
    ppo = make_ppo(
        {"class_path": envs.PATH + "ContextBandit", "n_envs": 8},
        n_steps=32,
        batch_size=64,
        n_epochs=4,
        learning_rate=5e-3,
        policy_kwargs={"net_arch": [16]},
        gamma=0.9,
    )
    metrics = iterate(ppo, 12)
    contexts = torch.eye(4)
    with torch.no_grad():
        probability = torch.softmax(ppo.net.actor(contexts)[0], dim=1).diagonal()
        value = ppo.net.critic(contexts)
    assert float(probability.min()) > 0.9  # 0.25 by chance
    assert metrics["rollout/ep_rew_mean"] > 0.85
    np.testing.assert_allclose(value, 1.0, atol=0.15)  # one step an episode: worth the reward


def test_box_actions_learn_where_to_aim():
    ppo = make_ppo(
        {"class_path": envs.PATH + "Aim", "n_envs": 8},
        n_steps=32,
        batch_size=64,
        n_epochs=4,
        learning_rate=5e-3,
        policy_kwargs={"net_arch": [16], "log_std_init": -0.5},
        gamma=0.9,
    )
    first = iterate(ppo, 1)
    metrics = iterate(ppo, 14)
    targets = torch.linspace(-0.9, 0.9, 7).unsqueeze(1)
    with torch.no_grad():
        mean = ppo.net.actor(targets)[0]
    np.testing.assert_allclose(mean, 0.8 * targets + 0.5, atol=0.2)
    assert metrics["train/std"] < 0.75 * first["train/std"]
    assert metrics["rollout/ep_rew_mean"] > 0.3 * first["rollout/ep_rew_mean"]


def test_cartpole_is_balanced_for_longer_with_advantages_over_time():
    ppo = make_ppo(
        {"id": "CartPole-v1", "n_envs": 8, "backend": "native"},
        n_steps=32,
        batch_size=256,
        n_epochs=20,
        learning_rate=2e-3,
        gae_lambda=0.8,
        gamma=0.98,
        policy_kwargs={"net_arch": [32]},
    )
    metrics = iterate(ppo, 50)
    assert metrics["time/total_timesteps"] == 12_800
    assert metrics["rollout/ep_rew_mean"] > 60  # over 100 episodes; about 22 at random, 9 pushed the wrong way


def test_the_entropy_bonus_keeps_actions_random():
    settings = {"n_steps": 32, "batch_size": 64, "n_epochs": 4, "learning_rate": 5e-3}
    settings["policy_kwargs"] = {"net_arch": [16]}
    entropies = []
    for weight in (0.0, 3.0):
        ppo = make_ppo({"class_path": envs.PATH + "ContextBandit", "n_envs": 8}, ent_coef=weight, **settings)
        entropies.append(-iterate(ppo, 10)["train/entropy_loss"])
    assert entropies[0] < 0.3
    assert entropies[1] > 1.2  # of ln 4 = 1.386
