"""Mixed precision: for the learner, and its state is kept. Half precision runs on the CPU with a scaler of its own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.precision import MixedPrecision

from lit_rl import PPO, EnvConfig, begin
from lit_rl.errors import Diverged
from lit_rl.state.plain import first_difference
from tests.helpers.cli import final_state
from tests.runs.conftest import Cli


def half(name: str, mode: Any, pause_at: int | None = None, scale: float = 2.0**40, **settings: Any) -> tuple[PPO, Any]:
    module = PPO(
        env=EnvConfig(id="Pendulum-v1", n_envs=4, backend="sync", max_episode_steps=40),
        n_steps=32, batch_size=32, n_epochs=2, total_timesteps=1024, seed=1, policy_kwargs={"net_arch": [8]},
        **settings,
    )  # fmt: skip
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=7)
    run = begin(module, mode=mode, name=name, pause_at=pause_at)
    assert run is not None
    trainer = Trainer(
        plugins=[MixedPrecision("16-mixed", "cpu", scaler=scaler)], callbacks=run.callbacks, logger=run.loggers,
        max_epochs=-1, enable_progress_bar=False, accelerator="cpu", devices=1,
    )  # fmt: skip
    with run:
        trainer.fit(module, ckpt_path=run.ckpt_path, weights_only=True)
    return module, scaler


def test_half_precision_resumes_with_its_scaler(cli: Cli) -> None:
    module, scaler = half("straight", "fresh")
    assert scaler.get_scale() < 2.0**40, "it has backed off from what overflowed"
    assert module.counters.bad_updates == 0, "which is what it is there for"
    assert 0 < module.counters.gradient_steps < 128
    half("stopped", "fresh", pause_at=512)
    _, resumed = half("stopped", "resume")
    assert resumed.state_dict() == scaler.state_dict()
    assert first_difference(final_state(cli.run("straight")), final_state(cli.run("stopped"))) is None
    assert final_state(cli.run("straight"))["precision"]["scale"] == scaler.get_scale()


def test_a_gradient_that_no_scale_saves_is_counted(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    loss = PPO._loss

    def bad(self: PPO, *args: Any, **kwargs: Any) -> Any:
        value, stats = loss(self, *args, **kwargs)
        return value.times(torch.nan), stats

    monkeypatch.setattr(PPO, "_loss", bad)
    with pytest.raises(Diverged):
        half("bad", "fresh", scale=4.0)


def test_bfloat16_changes_the_learner_alone(cli: Cli) -> None:
    config = cli.config({"env": {"id": "Pendulum-v1", "max_episode_steps": 40}})
    cli("fit", "--config", config, "--name", "whole", "--total_timesteps", 128)
    cli("fit", "--config", config, "--name", "half", "--total_timesteps", 128, "--trainer.precision", "bf16-mixed")
    whole, half_ = final_state(cli.run("whole")), final_state(cli.run("half"))
    assert first_difference(whole["episodes"], half_["episodes"]) is None, "the first rollout is the same to the bit"
    assert first_difference(whole["policy"], half_["policy"]) is not None
    for name, tensor in whole["policy"].items():
        assert half_["policy"][name].dtype is torch.float32
        torch.testing.assert_close(half_["policy"][name], tensor, atol=0.02, rtol=0.0)


@pytest.mark.parametrize("algorithm", ["DQN", "SAC", "TD3"])
def test_evaluations_beside_it_take_bfloat16s_actions(cli: Cli, algorithm: str) -> None:
    """NumPy has no such numbers."""
    env = {"id": "CartPole-v1" if algorithm == "DQN" else "Pendulum-v1", "max_episode_steps": 20}
    settings = {"learning_starts": 16, "batch_size": 8, "buffer_size": 100, "policy_kwargs": {"net_arch": [8]}}
    path = cli.cwd / "run.yaml"
    path.write_text(yaml.safe_dump({
        "name": "run", "total_timesteps": 64, "env": {**env, "backend": "sync"}, "eval": {"every": 32, "episodes": 1},
        "model": {"class_path": algorithm, "init_args": settings},
    }))  # fmt: skip
    done = cli("fit", "--config", path, "--trainer.precision", "bf16-mixed")
    assert "in the evaluation at 64" in done.out
