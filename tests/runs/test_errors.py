"""Mistakes on the command line: one line with the fix, exit code 2, nothing written."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.cli import error_of, lit_rl, write_config
from tests.runs.conftest import Cli


@pytest.mark.parametrize(
    ("over", "text"),
    [
        ({"curriculm": {}}, "unknown key 'curriculm'"),
        ({"env": {"n_env": 8}}, "unknown key 'env.n_env'. Did you mean 'n_envs'?"),
        ({"env": {"normalize": {"ob": True}}}, "unknown key 'env.normalize.ob'. Did you mean 'obs'?"),
        ({"env": {"wrappers": [{"class_pat": "x"}]}}, "env.wrappers[0]: unknown key 'class_pat'"),
        (
            {"model": {"init_args": {"learning_rte": 1}}},
            "'model.init_args.learning_rte'. Did you mean 'learning_rate'?",
        ),
        ({"model": {"init_args": {"clip_range": {"strat": 1}}}}, "'model.init_args.clip_range.strat'. Did you mean"),
        (
            {"model": {"class_path": "PPA"}},
            "RecurrentPPO, SAC, TD3, TQC, TRPO. Did you mean 'PPO'?",
        ),
        ({"model": {"init_args": {"seed": 3}}}, "write `seed_everything:` outside model"),
        ({"model": {"init_args": {"policy": "MplPolicy"}}}, "Did you mean 'MlpPolicy'?"),
        ({"model": {"init_args": {"policy_kwargs": {"net_arhc": [8]}}}}, "unknown key 'net_arhc'. Did you mean"),
        ({"model": {"init_args": {"n_steps": 2.5}}}, "n_steps: expected a whole number, got 2.5"),
        ({"model": {"init_args": {"learning_rate": "lim_3"}}}, "model.learning_rate: 'lim_3' is neither a number"),
        ({"model": {"init_args": {"n_steps": 0}}}, "model.n_steps is 0"),
        ({"model": {"init_args": {"use_sde": True}}}, "model.use_sde is for Box actions"),
        ({"trainer": {"device": 1}}, "'trainer.device'. Did you mean 'devices'?"),
        (
            {"trainer": {"devices": 2, "accelerator": "cpu", "strategy": "ddp_spawn"}},
            "ddp_spawn is not supported; use ddp",
        ),
        (
            {"trainer": {"precision": "bf16-true"}},
            "trainer.precision: bf16-true is not supported; use 32-true, bf16-mixed",
        ),
        ({"trainer": {"gradient_clip_val": 1.0}}, "set model.max_grad_norm instead"),
        ({"trainer": {"accelerator": "gpuu"}}, "trainer.accelerator: "),
        ({"env": {"id": "CartPol-v1"}}, "Did you mean 'CartPole-v1'?"),
        ({"env": {"kwargs": {"gravty": 1}}}, "env.kwargs:"),
        ({"env": {"id": None}}, "env.id is missing"),
        (
            {"env": {"backend": "snyc"}},
            "env.backend: 'snyc' is not one of auto, sync, async, native. Did you mean 'sync'?",
        ),
        ({"env": {"normalize": {"obs": True}, "id": "FrozenLake-v1"}}, "needs Box observations"),
        ({"env": {"atari": True}}, "env.atari is for Atari games"),
        ({"mode": "resum"}, "mode: 'resum' is not one of fresh, resume, warmstart. Did you mean 'resume'?"),
        ({"resume": {"total_timesteps": 1, "additional_timesteps": 1}}, "are both given; keep one"),
        ({"resume": {"schedule": "strech"}}, "Did you mean 'stretch'?"),
        ({"mode": "resume"}, "'last' of the run 'run' is not there"),
        ({"mode": "warmstart"}, "warmstart.checkpoint is missing"),
        ({"mode": "warmstart", "warmstart": {"checkpoint": "no/where"}}, "'no/where' is not there"),
        ({"warmstart": {"load": ["polcy"]}}, "polcy"),
        ({"checkpoint": {"keep_last": 0}}, "checkpoint.keep_last is 0"),
        ({"total_timesteps": 0}, "total_timesteps is 0"),
        ({"total_timesteps": 1e5}, "total_timesteps: expected a whole number, got 100000.0. Write 100000."),
    ],
)
def test_mistakes_in_the_file(cli: Cli, over: dict[str, Any], text: str) -> None:
    message = cli.error("fit", "--config", cli.config(over))
    assert text in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--env.n_env", 4), "--env.n_env: there is no such option. Did you mean 'n_envs'?"),
        (("--model.n_step", 4), "--model.n_step: there is no such option. Did you mean 'n_steps'?"),
        (("--modle", "PPO"), "--modle: there is no such option. Did you mean 'mode"),
        (("--total_timesteps", "many"), "total_timesteps: expected a whole number, got 'many'."),
        (("--ckpt_path", "https://example.org/x"), "is a remote address"),
        (("--ckpt_path", "nowhere"), "'nowhere' is not there"),
        (("--config", "rnu.yaml"), "--config: 'rnu.yaml' is not there. Did you mean 'run.yaml'?"),
    ],
)
def test_mistakes_in_the_options(cli: Cli, words: tuple[Any, ...], text: str) -> None:
    message = cli.error("fit", "--config", cli.config(), *words)
    assert text in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("name: a\nname: b\n", "key 'name' stands twice, in lines 1 and 2"),
        ("env: {id: A, n_envs: 1, id: B}\n", "key 'id' stands twice, in lines 1 and 1"),
        ("env: {id: A\nname: x\n", "is not valid YAML in line"),
        ("- a\n- b\n", "must hold keys and values"),
    ],
)
def test_broken_yaml(cli: Cli, content: str, text: str) -> None:
    path = cli.cwd / "broken.yaml"
    path.write_text(content)
    assert text in cli.error("fit", "--config", path)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--config", "run.yaml", "fit"), "options come after the command: lit-rl fit --config"),
        (("ftt",), "there is no command 'ftt'. Did you mean 'fit'?"),
        (("fit",), "model is missing. Name an algorithm"),
        (("verify",), "verify needs a configuration"),
        (("show", "nowhere"), "'nowhere' is not there"),
        (("show", "last"), "name a path"),
    ],
)
def test_mistakes_in_the_command(cli: Cli, words: tuple[str, ...], text: str) -> None:
    assert text in cli.error(*words)


def test_a_process_of_its_own_leaves_with_code_2_and_one_line(tmp_path: Path) -> None:
    message = error_of("fit", "--config", write_config(tmp_path), "--env.n_env", 4, cwd=tmp_path)
    assert message == "--env.n_env: there is no such option. Did you mean 'n_envs'?"


def test_numbers_are_numbers(cli: Cli) -> None:
    path = cli.config()
    path.write_text(path.read_text() + "\n")
    text = path.read_text().replace("total_timesteps: 512", "total_timesteps: 1_28")
    path.write_text(text.replace("n_epochs: 2", "n_epochs: 2\n    learning_rate: 3e-4"))
    cli("fit", "--config", path)
    described = cli("show", cli.run(), "--json").out
    assert '"learning_rate": 0.0003' in described
    assert '"timesteps": 128' in described


def test_a_later_config_and_the_command_line_win(cli: Cli) -> None:
    other = cli.cwd / "other.yaml"
    other.write_text("total_timesteps: 128\nname: other\n")
    cli("fit", "--config", cli.config(), "--config", other, "--name", "third")
    assert cli.run("third").exists()


def test_another_network_is_named_by_its_first_tensor(cli: Cli) -> None:
    config = cli.config()
    cli("fit", "--config", config, "--pause_at", 128, expect=75)
    words = ("fit", "--config", config, "--mode", "resume")
    message = cli.error(*words, "--model.policy_kwargs.net_arch", "[16]")
    assert "tensor 'policy.action_net.weight' has shape (2, 8), this model needs (2, 16)" in message
    assert "Box(4,) float32, but env Acrobot-v1 has Box(6,) float32" in cli.error(*words, "--env.id", "Acrobot-v1")


def test_another_algorithm_is_refused(cli: Cli) -> None:
    config = cli.config()
    cli("fit", "--config", config, "--pause_at", 128, expect=75)
    words = ("fit", "--config", config, "--mode", "resume", "--model.class_path", "tests.helpers.algorithms.OtherPPO")
    assert "was written by PPO, but model.class_path is OtherPPO" in cli.error(*words)


def test_files_that_are_not_ours_are_refused(cli: Cli) -> None:
    config = cli.config()
    words = ("fit", "--config", config, "--mode", "warmstart", "--warmstart.checkpoint")
    foreign = cli.cwd / "foreign.ckpt"
    torch.save({"state_dict": {"layer.weight": torch.zeros(2)}}, foreign)
    assert "was not written by lit_rl" in cli.error(*words, foreign, expect=65)
    torch.save({"weights": torch.zeros(2)}, foreign)
    assert "is not a Lightning checkpoint" in cli.error(*words, foreign, expect=65)
    foreign.write_bytes(b"not a checkpoint")
    assert "cannot be opened as tensors and plain values" in cli.error(*words, foreign, expect=65)
    (cli.cwd / "empty").mkdir()
    assert "neither a checkpoint" in cli.error(*words, cli.cwd / "empty", expect=65)


class Evil:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


def test_opening_a_poisoned_file_runs_nothing(cli: Cli) -> None:
    config, mark = cli.config(), cli.cwd / "mark"
    poisoned = cli.cwd / "poisoned.ckpt"
    torch.save({"state_dict": {}, "evil": Evil(mark)}, poisoned)
    torch.load(poisoned, weights_only=False)
    assert mark.exists(), "the poison works"
    mark.unlink()
    words = ("fit", "--config", config, "--mode", "warmstart", "--warmstart.checkpoint", poisoned)
    assert "cannot be opened" in cli.error(*words, expect=65)
    assert "cannot be opened" in cli.error("show", poisoned, expect=65)
    assert not mark.exists()


def test_damage_is_named_and_the_older_one_taken_or_refused(cli: Cli) -> None:
    config = cli.config()
    cli("fit", "--config", config, "--pause_at", 384, expect=75)
    run = cli.run().relative_to(cli.cwd)
    file = run / "checkpoints" / "t0000000384-s001" / "lightning.ckpt"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    words = ("fit", "--config", config, "--mode", "resume")
    assert f"digest mismatch in {file}" in cli.error(*words, "--resume.strict", "true", expect=65)
    done = cli(*words, "--pause_at", 384, expect=75)
    assert f"digest mismatch in {file}" in done.out
    assert "checkpoint: t0000000256-s001" in done.out
    for path in (cli.run() / "checkpoints").glob("t*"):
        (path / "rank_00000.pt").unlink()
    assert "has no good checkpoint" in cli.error(*words, expect=65)
    shutil.rmtree(cli.run() / "checkpoints")
    assert "'last' of the run 'run' is not there" in cli.error(*words)


def test_help_shows_ours_first(tmp_path: Path) -> None:
    text = lit_rl("fit", "--help", cwd=tmp_path).stdout
    places = [
        text.index(option) for option in ("--mode", "--resume.checkpoint", "--env.id", "--model", "--trainer.devices")
    ]
    assert places == sorted(places)
    assert "fit" in lit_rl("--help", cwd=tmp_path).stdout
