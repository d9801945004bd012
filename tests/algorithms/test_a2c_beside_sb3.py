"""A whole run beside stable-baselines3's: the same weights, environments and noise, everything else its own."""

from pathlib import Path

import pytest
import stable_baselines3
import torch
import yaml
from stable_baselines3.common.vec_env import VecNormalize

from lit_rl.ops.schedules import as_schedule
from tests.helpers.beside_sb3 import AsVecEnv, with_our_gsde
from tests.helpers.on_policy import make_a2c, weights

CONFIG = Path(__file__).parents[2] / "configs" / "pendulum_a2c.yaml"
ROLLOUTS = 50


def test_a_run_on_pendulum_is_sb3s():
    """Rollouts with gSDE, episodes cut off, both moments, RMSprop and the schedule. (Rounding grows: 2e-6 after 50.)"""
    timesteps = ROLLOUTS * 8 * 8
    config = yaml.safe_load(CONFIG.read_text())
    settings = config["model"]["init_args"]
    ours, other = (make_a2c(config["env"], **settings, total_timesteps=timesteps, seed=1) for _ in range(2))
    before = weights(ours.policy)
    envs = VecNormalize(AsVecEnv(other.play), gamma=settings["gamma"])
    theirs = settings | {"learning_rate": as_schedule(settings["learning_rate"], "")}
    twin = stable_baselines3.A2C(theirs.pop("policy"), envs, device="cpu", **theirs)
    twin.policy.load_state_dict(before)
    with_our_gsde(twin, other)

    twin.learn(timesteps)
    for _ in range(ROLLOUTS):
        ours.loop.iterate()

    assert twin._n_updates == ours.counters.updates == ROLLOUTS
    assert ours.counters.episodes >= 8  # the ends of episodes are in it
    for name, tensor in twin.policy.state_dict().items():
        torch.testing.assert_close(weights(ours.policy)[name], tensor, rtol=0, atol=2e-5)
    assert max(float((weights(ours.policy)[name] - before[name]).abs().max()) for name in before) > 5e-3
    ((_, moments),) = ours.normalizer.obs.items()
    assert moments.var.numpy() == pytest.approx(envs.obs_rms.var, rel=1e-4)
    assert float(ours.normalizer.reward.var) == pytest.approx(envs.ret_rms.var, rel=1e-2)
    assert ours.optimizers().param_groups[0]["lr"] == twin.policy.optimizer.param_groups[0]["lr"]
