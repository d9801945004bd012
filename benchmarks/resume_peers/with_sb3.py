"""PPO with stable-baselines3, saved and gone on with as its guide says.

https://stable-baselines3.readthedocs.io/en/master/guide/callbacks.html (CheckpointCallback) and
https://stable-baselines3.readthedocs.io/en/master/guide/examples.html (VecNormalize.load; learn with
reset_num_timesteps=False goes on with the counter).
"""

from __future__ import annotations

from typing import Any

import probe
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import CheckpointCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize


def watch() -> None:
    """Have the probe look at every PPO of this process."""
    setup, train = PPO._setup_learn, PPO.train

    def moments(model: PPO) -> Any:
        found = model.get_vec_normalize_env()
        return None if found is None else found.obs_rms.mean

    def watched_setup(model: PPO, *args: Any, **kwargs: Any) -> Any:
        loaded = moments(model)  # before environments are reset, which adds to them
        made = setup(model, *args, **kwargs)
        probe.begin(model.num_timesteps, loaded, len(model.ep_info_buffer))
        return made

    def watched_train(model: PPO) -> None:
        buffer, rate = model.rollout_buffer, model.lr_schedule(model._current_progress_remaining)
        probe.update(model.num_timesteps, rate, buffer.observations[0], buffer.actions[0], moments(model))
        train(model)

    PPO._setup_learn, PPO.train = watched_setup, watched_train


def main() -> None:
    given = probe.arguments()
    envs = make_vec_env(probe.ENV, n_envs=probe.N_ENVS, seed=probe.SEED)
    saving = CheckpointCallback(
        save_freq=given.save_every // probe.N_ENVS, save_path=str(given.dir), name_prefix="ppo", save_vecnormalize=True
    )
    if given.resume is None:
        model = PPO(
            "MlpPolicy", VecNormalize(envs, norm_reward=False), n_steps=probe.N_STEPS, batch_size=probe.BATCH,
            n_epochs=probe.EPOCHS, learning_rate=lambda left: probe.LEARNING_RATE * left, seed=probe.SEED, device="cpu",
        )  # fmt: skip
        model.learn(given.timesteps, callback=saving)
    else:
        steps = given.resume.stem.split("_")[1]
        envs = VecNormalize.load(str(given.resume.parent / f"ppo_vecnormalize_{steps}_steps.pkl"), envs)
        model = PPO.load(given.resume, env=envs, device="cpu")
        model.learn(given.timesteps - model.num_timesteps, callback=saving, reset_num_timesteps=False)
    model.save(given.dir / "final")
    probe.end(model.policy.state_dict())


if __name__ == "__main__":
    watch()
    main()
