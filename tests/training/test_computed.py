"""First weights are made on the CPU, whatever the default device is; what is said of the device."""

from __future__ import annotations

import pytest
import torch

from lit_rl import PPO, SAC, EnvConfig
from lit_rl.training.computed import said_of_device
from lit_rl.training.module import RLModule


def built(cls: type[RLModule], device: str) -> RLModule:
    module = cls(env=EnvConfig(id="Pendulum-v1", n_envs=2, backend="sync"), total_timesteps=64, seed=3)  # type: ignore[call-arg]
    module.build_envs()
    with torch.device(device):  # as the Trainer does around `configure_model`
        module.build_networks()
    module.play.close()
    return module


@pytest.mark.parametrize("cls", [PPO, SAC])
def test_the_first_weights_are_the_same_for_every_device(cls: type[RLModule], monkeypatch: pytest.MonkeyPatch) -> None:
    here = built(cls, "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda *_: pytest.fail("asked for"))
    before = torch.get_rng_state()
    there = built(cls, "meta")
    assert torch.equal(torch.get_rng_state(), before)
    for (name, one), other in zip(here.state_dict().items(), there.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


def test_what_is_said_of_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    module = PPO(env=EnvConfig(id="CartPole-v1"), total_timesteps=64)
    by = ["gradients: autograd"]
    assert said_of_device(module, None) == by
    monkeypatch.setattr(PPO, "device", torch.device("cuda", 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A Card")
    hint = "; equal to the bit needs trainer.deterministic: true"
    before = {"device": "cpu", "precision": None}
    found = said_of_device(module, before)
    assert found == [
        f"device: A Card{hint}",
        "computed with: cpu, None, autograd -> A Card, None, autograd; equal to the bit is only what the same compute",
    ]
    for enabled, warns, said in ((True, False, ""), (True, True, hint)):
        monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda enabled=enabled: enabled)
        monkeypatch.setattr(torch, "is_deterministic_algorithms_warn_only_enabled", lambda warns=warns: warns)
        assert said_of_device(module, None) == [f"device: A Card{said}", *by]
