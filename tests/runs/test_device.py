"""What is said of the device and its precision. No GPU takes part here; `test_cuda.py` trains on one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.accelerators import AcceleratorRegistry, CUDAAccelerator, MPSAccelerator

from lit_rl import PPO
from lit_rl.state.plain import first_difference
from lit_rl.training import computed
from tests.helpers.cli import checkpoints, final_state
from tests.runs.conftest import Cli

CARD = "A Card"


class RaisesOnce(Callback):
    """Raises what torch says, after some iterations."""

    def __init__(self, what: str) -> None:
        self.what = what

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        if module.counters.timesteps < 256:
            return
        if self.what == "memory":
            raise torch.cuda.OutOfMemoryError(
                "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which 1 is "
                "free. If reserved but unallocated memory is large try setting PYTORCH_ALLOC_CONF"
            )
        torch.zeros(2).put_(torch.tensor([0]), torch.tensor([1.0]))


def raises(what: str) -> list[str]:
    callback = {"class_path": f"{__name__}.RaisesOnce", "init_args": {"what": what}}
    return ["--trainer.callbacks", str([callback]).replace("'", '"')]


def test_too_little_memory_is_one_line_and_the_state_is_saved(cli: Cli) -> None:
    done = cli("fit", "--config", cli.config(), *raises("memory"), expect=2)
    assert done.err.startswith(
        "error: the device has too little memory: CUDA out of memory. Tried to allocate 2.00 GiB. Use a smaller "
        "model.batch_size or network, or trainer.accelerator: cpu ("
    )
    assert "Traceback" not in done.err
    assert "at timestep 128, is saved: mode: resume" in done.err
    assert checkpoints(cli.run())[-1].manifest.timesteps == 128
    cli("fit", "--config", cli.config(), "--mode", "resume")


@pytest.mark.filterwarnings("ignore:put_ does not have a deterministic implementation")
def test_an_operation_that_is_not_deterministic_is_one_line(cli: Cli) -> None:
    words = ("fit", "--config", cli.config(), *raises("operation"))
    try:
        done = cli(*words, "--trainer.deterministic", "true", expect=2)
        assert done.err.startswith(
            "error: trainer.deterministic: put_ does not have a deterministic implementation. Use "
        )
        assert "test_device.py:" in done.err.splitlines()[0]
        cli(*words, "--name", "warns", "--trainer.deterministic", "warn")
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_gpu_that_is_not_there(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for accelerator in (CUDAAccelerator, MPSAccelerator):
        monkeypatch.setattr(accelerator, "is_available", staticmethod(lambda: False))
    assert "cuda" in AcceleratorRegistry.available_accelerators()
    said = cli.error("fit", "--config", cli.config(), "--trainer.accelerator", "gpu")
    assert said == "trainer.accelerator: torch finds no GPU here; set trainer.accelerator: auto, or cpu."


def test_more_gpus_than_there_are(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CUDAAccelerator, "is_available", lambda: True)
    monkeypatch.setattr("lightning.fabric.utilities.device_parser._get_all_available_gpus", lambda **kinds: [0])
    message = cli.error("fit", "--config", cli.config(), "--trainer.accelerator", "gpu", "--trainer.devices", 2)
    assert message == "trainer.devices: asks for the GPUs [0, 1]; this machine has [0]."


def test_another_precision_is_said(cli: Cli) -> None:
    words = ("fit", "--config", cli.config(), "--trainer.accelerator", "cpu")
    half = ("--trainer.precision", "bf16-mixed")
    cli(*words, *half, "--pause_at", 128, expect=75)
    done = cli(*words, *half, "--mode", "resume", "--pause_at", 256, expect=75)
    assert "computed with" not in done.out
    done = cli(*words, "--mode", "resume")
    assert "computed with: cpu, bf16-mixed, autograd -> cpu, 32-true, autograd; equal to the bit is only" in done.out


def test_a_checkpoint_of_a_gpu_is_opened_where_there_is_none(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tensors name the device that they lay on."""
    words = ("fit", "--config", cli.config(), "--trainer.accelerator", "cpu")
    with monkeypatch.context() as patched:
        patched.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        patched.setattr(computed, "device_name", lambda device: CARD)
        cli(*words, "--pause_at", 256, expect=75)
    path = checkpoints(cli.run())[-1].path
    assert b"cuda:0" in (path / "lightning.ckpt").read_bytes()
    cli("verify-checkpoint", cli.run())
    cli("show", cli.run())
    assert PPO.load_from_checkpoint(path).device.type == "cpu"
    cli("export-sb3", path, "--out", "agent.zip")
    cli("test", *words[1:], "--episodes", 1)
    done = cli(*words, "--mode", "resume")
    assert f"computed with: {CARD}, 32-true, by hand -> cpu, 32-true, by hand; equal to the bit" in done.out
    cli(*words, "--name", "straight")
    assert first_difference(final_state(cli.run("straight")), final_state(cli.run())) is None
