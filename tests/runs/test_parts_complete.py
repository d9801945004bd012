"""Nothing a run depends on is missing from its list of parts.

A module that was stopped and resumed is compared with one that was not, attribute by attribute, wherever they are: a
counter, an average or a generator that somebody adds and forgets to list differs here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from lit_rl import PPO, EnvConfig, NormalizeConfig, begin
from lit_rl.errors import ConfigError
from lit_rl.training.forgotten import Watch
from tests.helpers.cli import checkpoints
from tests.runs.conftest import Cli

NOT_STATE = {
    # Lightning's own, and what is measured with a clock or belongs to one process
    "_trainer", "_fabric", "_log_hyperparams", "_hparams", "_hparams_initial", "_device", "_dtype", "_segment_start",
    "on_ready", "seconds", "time/fps", "time/time_elapsed", "marks", "log_book", "_jit_is_scripting",
    "_resumed_rank", "_seconds", "envs", "_param_requires_grad_state", "_watch",
}  # fmt: skip
PACKAGE = "lit_rl"


def fingerprint(value: Any, path: str, found: dict[str, Any], seen: set[int]) -> None:
    """Every number, text and array below `value`, by path."""
    if isinstance(value, torch.Tensor):
        found[path] = value.detach().cpu().numpy().tobytes()
    elif isinstance(value, np.ndarray):
        found[path] = value.tobytes()
    elif isinstance(value, bool | int | float | str | None):
        found[path] = value if value == value else "nan"
    elif isinstance(value, dict):
        for key, item in value.items():
            if key not in NOT_STATE:
                fingerprint(item, f"{path}[{key!r}]", found, seen)
    elif isinstance(value, list | tuple | set) or type(value).__name__ == "deque":
        for i, item in enumerate(value):
            fingerprint(item, f"{path}[{i}]", found, seen)
    elif isinstance(value, np.random.Generator):
        found[path] = str(value.bit_generator.state)
    elif (isinstance(value, nn.Module) or type(value).__module__.startswith(PACKAGE)) and id(value) not in seen:
        seen.add(id(value))
        for key, item in vars(value).items():
            if key not in NOT_STATE:
                fingerprint(item, f"{path}.{key}", found, seen)


def module_now() -> PPO:
    return PPO(
        env=EnvConfig(
            id="Pendulum-v1",
            n_envs=2,
            backend="sync",
            max_episode_steps=30,
            normalize=NormalizeConfig(obs=True, reward=True),
        ),
        n_steps=64,
        batch_size=32,
        n_epochs=2,
        learning_rate="lin_0.001",
        use_sde=True,
        target_kl=0.5,
        policy_kwargs={"net_arch": [8]},
        total_timesteps=512,
        seed=4,
    )


class Forgetful(PPO):
    """Counts something that no list of parts knows of."""

    forgotten = 0

    def training_step(self, batch: Any, batch_idx: int) -> None:
        super().training_step(batch, batch_idx)
        self.forgotten = self.forgotten + 1


class Look(Callback):
    """Takes fingerprints of a module and its environments at the end of every iteration."""

    def __init__(self) -> None:
        self.seen: dict[int, dict[str, Any]] = {}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, PPO)
        found: dict[str, Any] = {}
        fingerprint(pl_module, "module", found, set())
        fingerprint(pl_module.capture_rank(), "rank", found, set())
        fingerprint(trainer.optimizers[0].state_dict(), "optimizer", found, set())
        self.seen[pl_module.counters.timesteps] = found


def train(module: PPO, look: Look, **options: Any) -> None:
    run = begin(module, **options)
    assert run is not None
    trainer = Trainer(
        callbacks=[*run.callbacks, look], logger=run.loggers, max_epochs=-1, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, accelerator="cpu",
    )  # fmt: skip
    with run:
        trainer.fit(module, ckpt_path=run.ckpt_path, weights_only=True)


def differences(make: Any) -> list[str]:
    straight, resumed = Look(), Look()
    train(make(), straight, name="straight")
    train(make(), Look(), name="stopped", pause_at=256)
    train(make(), resumed, name="stopped", mode="resume")
    assert resumed.seen.keys() == {384, 512}
    wrong = []
    for timesteps, found in resumed.seen.items():
        expected = straight.seen[timesteps]
        wrong += [f"{p} at {timesteps}" for p in expected.keys() | found.keys() if expected.get(p) != found.get(p)]
    return sorted(wrong)


def test_every_attribute_survives_a_stop(cli: Cli) -> None:
    assert differences(module_now) == []


def forgetful() -> PPO:
    module = module_now()
    module.__class__ = Forgetful
    return module


def test_the_comparison_finds_what_is_forgotten(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watch, "look", lambda self: None)
    assert differences(forgetful) == ["module.forgotten at 384", "module.forgotten at 512"]


def test_what_is_forgotten_is_said_after_the_first_iteration(cli: Cli) -> None:
    with pytest.raises(ConfigError, match=r"Forgetful\.forgotten changes .* name 'forgotten' in PARTS") as caught:
        differences(forgetful)
    assert "\n" not in str(caught.value)
    assert not checkpoints(cli.run("straight"))
