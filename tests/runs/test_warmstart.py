"""Mode warmstart, part by part: what a new run takes from a trained one."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from lit_rl import PPO, EnvConfig, NormalizeConfig, WarmstartConfig, begin
from lit_rl.checkpoint.reader import load_lightning
from lit_rl.state.plain import first_difference
from tests.helpers.cli import checkpoints, final_state, lineage, metrics, parts
from tests.runs.conftest import Cli

MOMENTS = {"env": {"id": "Pendulum-v1", "max_episode_steps": 40, "normalize": {"obs": True, "reward": True}}}
NOT_LEARNED = ("clock",)


def test_warmstart_takes_what_load_names_and_nothing_else(cli: Cli) -> None:
    cli("fit", "--config", cli.config(MOMENTS))
    source = checkpoints(cli.run())[-1]
    trained = parts(source)
    for load, moments in ((["policy", "value", "obs_moments", "reward_moments"], True), (["policy", "value"], False)):
        module = PPO(
            env=EnvConfig(
                id="Pendulum-v1", n_envs=4, max_episode_steps=40, normalize=NormalizeConfig(obs=True, reward=True)
            ),
            n_steps=32,
            policy_kwargs={"net_arch": [8]},
            total_timesteps=512,
            seed=9,
        )
        warm = WarmstartConfig(checkpoint=str(source.path), load=load)  # type: ignore[arg-type]
        run = begin(module, mode="warmstart", name="warm", warmstart=warm)
        assert run is not None
        state = dict(module.state_dict())
        assert first_difference({k: v for k, v in state.items() if k.startswith("policy.")}, trained["policy"]) is None
        for name, prefix in (("obs_moments", "normalizer.obs."), ("reward_moments", "normalizer.reward.")):
            mine = {k: v for k, v in state.items() if k.startswith(prefix)}
            assert (first_difference(mine, trained[name]) is None) == moments
        assert module.counters.timesteps == module.counters.iterations == 0
        assert module.clock.progress_remaining(0) == 1.0
        assert run.ckpt_path is None
        recorded = lineage(run.directory)
        assert recorded["run_id"] != lineage(cli.run())["run_id"]
        assert recorded["mode"] == "warmstart"
        assert recorded["parents"] == [
            {
                "path": str(source.path),
                "digest": source.digest,
                "run_id": lineage(cli.run())["run_id"],
                "timesteps": 512,
            }
        ]
        module.teardown("fit")


def test_warmstart_trains_from_step_0_with_a_fresh_optimizer(cli: Cli) -> None:
    config = cli.config({"model": {"init_args": {"learning_rate": "lin_0.001"}}})
    cli("fit", "--config", config)
    words = ("--mode", "warmstart", "--warmstart.checkpoint", cli.run())
    done = cli("fit", "--config", config, "--name", "warm", *words, "--pause_at", 128, expect=75)
    assert "mode: warmstart" in done.out
    assert f"parent: {checkpoints(cli.run())[-1].path}" in done.out
    assert "policy: " in done.out
    assert "learning rate: 0.001" in done.out
    state = final_state(cli.run("warm"))
    assert state["counters"]["timesteps"] == 128
    assert float(state["optimizer"][0]["state"][0]["step"]) == 4.0
    assert float(metrics(cli.run("warm"))[0]["train/learning_rate"]) == pytest.approx(0.00075)
    assert state["environments"]["slots"][0]["first_episode"] < 15


def test_a_stopped_warmstart_resumes_itself(cli: Cli) -> None:
    config = cli.config()
    cli("fit", "--config", config)
    words = ("fit", "--config", config, "--warmstart.checkpoint", cli.run(), "--name")
    cli(*words, "straight", "--mode", "warmstart")
    cli(*words, "stopped", "--mode", "warmstart", "--pause_at", 128, expect=75)
    cli(*words, "stopped", "--mode", "resume")
    ours, theirs = final_state(cli.run("straight")), final_state(cli.run("stopped"))
    assert all(first_difference(ours[name], theirs[name], name) is None for name in ours)


def test_a_bare_file_warms_up_but_does_not_resume(cli: Cli) -> None:
    config = cli.config()
    cli("fit", "--config", config)
    bare = cli.cwd / "weights.ckpt"
    shutil.copy(checkpoints(cli.run())[-1].lightning_file, bare)
    done = cli("fit", "--config", config, "--name", "warm", "--mode", "warmstart", "--warmstart.checkpoint", bare)
    assert f"parent: {bare}" in done.out
    assert "use mode: warmstart" in cli.error("fit", "--config", config, "--ckpt_path", bare)


def test_load_from_checkpoint_gives_the_same_policy(cli: Cli) -> None:
    cli("fit", "--config", cli.config(MOMENTS))
    path = checkpoints(cli.run())[-1].path
    state = torch.get_rng_state()
    module = PPO.load_from_checkpoint(path)
    assert torch.equal(torch.get_rng_state(), state)
    stored = load_lightning(checkpoints(cli.run())[-1])["state_dict"]
    assert first_difference(dict(module.state_dict()), stored) is None
    obs = module.normalizer.normalize_obs(np.zeros((3, 3), dtype=np.float32))
    assert module.policy_actions(obs).shape == (3, 1)
    assert module.play.envs is None


def test_weights_with_moments_and_a_run_without_are_an_error_and_the_other_way_round(cli: Cli) -> None:
    with_moments = cli.config(MOMENTS, "moments.yaml")
    without = cli.config({"env": {"id": "Pendulum-v1", "max_episode_steps": 40}}, "plain.yaml")
    cli("fit", "--config", with_moments, "--name", "moments")
    cli("fit", "--config", without, "--name", "plain")
    words = ("--mode", "warmstart", "--warmstart.checkpoint")
    assert "env.normalize.obs is false" in cli.error("fit", "--config", without, *words, cli.run("moments"))
    assert "has no moments" in cli.error("fit", "--config", with_moments, *words, cli.run("plain"))
    new = ("--warmstart.load", "[policy, value]")
    done = cli("fit", "--config", with_moments, "--name", "new_moments", *words, cli.run("plain"), *new)
    assert "obs_moments: not loaded" in done.out


def test_on_mismatch_skip_loads_what_fits_and_says_what_does_not(cli: Cli) -> None:
    config = cli.config()
    cli("fit", "--config", config)
    words = ("--mode", "warmstart", "--warmstart.checkpoint", cli.run(), "--model.policy_kwargs.net_arch", "[16]")
    message = cli.error("fit", "--config", config, *words)
    assert "tensor 'policy.action_net.weight' has shape (2, 8), this model needs (2, 16)" in message
    done = cli("fit", "--config", config, "--name", "skip", *words, "--warmstart.on_mismatch", "skip")
    assert "skipped policy.mlp_extractor.policy_net.0.weight" in done.out
