"""`model.fast` on the command line: what is chosen is said, kept to, and exact either way."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lit_rl.networks.compiled import lacks_compiler
from lit_rl.state.plain import first_difference
from tests.helpers.cli import final_state, lit_rl, write_config
from tests.runs.conftest import Cli


def test_what_is_chosen_is_said_and_gone_on_with(cli: Cli) -> None:
    words = ("fit", "--config", cli.config())
    assert "gradients: by hand" in cli(*words, "--pause_at", 256, expect=75).out
    assert "gradients: by hand" in cli(*words, "--mode", "resume").out
    cli(*words, "--name", "straight")
    assert first_difference(final_state(cli.run("straight")), final_state(cli.run())) is None


def test_another_choice_is_another_setting(cli: Cli) -> None:
    words = ("fit", "--config", cli.config())
    assert "gradients:" not in cli(*words, "--model.fast", "false", "--pause_at", 256, expect=75).out
    assert "model.fast  False  auto" in cli(*words, "--mode", "resume", expect=2).err
    done = cli(*words, "--mode", "resume", "--resume.on_config_change", "accept")
    assert "gradients: autograd" in done.out, "auto goes on with what the run was computed with"
    cli(*words, "--name", "straight", "--model.fast", "false")
    assert first_difference(final_state(cli.run("straight")), final_state(cli.run())) is None


def test_the_other_gradients_go_on_from_the_same_moments(cli: Cli) -> None:
    words = ("fit", "--config", cli.config())
    cli(*words, "--pause_at", 256, expect=75)
    done = cli(*words, "--mode", "resume", "--model.fast", "false", "--resume.on_config_change", "accept")
    assert "computed with: cpu, 32-true, by hand -> cpu, 32-true, autograd" in done.out
    cli(*words, "--name", "straight")
    ours, theirs = (final_state(cli.run(name))["policy"] for name in ("run", "straight"))
    assert max(float((ours[key] - theirs[key]).abs().max()) for key in ours) < 1e-3


@pytest.mark.parametrize("fast", ["true", "false"])
def test_exact(tmp_path: Path, fast: str) -> None:
    done = lit_rl("verify", "--config", write_config(tmp_path), "--model.fast", fast, "--stops", 2, cwd=tmp_path)
    assert done.stdout.rstrip().endswith("exact: every part of the state is equal to the bit")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--trainer.precision", "bf16-mixed"), "gradients by hand need trainer.precision: 32-true, not bf16-mixed"),
        (("--model.policy_kwargs.activation_fn", "torch.nn.Softsign"), "the usual activations; use auto or false"),
        (("--model.policy_kwargs.optimizer_class", "tests.helpers.networks:Layerwise"), "Layerwise may treat"),
    ],
)
def test_it_cannot_be_had(cli: Cli, words: tuple[str, ...], text: str) -> None:
    assert text in cli.error("fit", "--config", cli.config(), "--model.fast", "true", *words)


@pytest.mark.slow
@pytest.mark.skipif(lacks_compiler(torch.device("cpu")) is not None, reason="no C++ compiler")
def test_compiled_runs_are_exact_and_auto_goes_on_without(tmp_path: Path) -> None:
    words = ("--config", write_config(tmp_path), "--model.fast")
    done = lit_rl("verify", *words, "compile", "--stops", 1, cwd=tmp_path)
    assert done.stdout.rstrip().endswith("exact: every part of the state is equal to the bit")
    done = lit_rl("fit", *words, "compile", "--pause_at", 256, cwd=tmp_path, expect=75)
    assert "gradients: autograd, compiled" in done.stdout
    done = lit_rl("fit", *words, "auto", "--mode", "resume", "--resume.on_config_change", "accept", cwd=tmp_path)
    assert "computed with: cpu, 32-true, autograd, compiled -> cpu, 32-true, autograd" in done.stdout
