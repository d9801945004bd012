"""What has to be quick imports little: a mistake is answered before torch, Lightning or an algorithm is imported."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.cli import LightningCLI

from lit_rl.cli.dispatch import run_command
from lit_rl.process import importing
from tests.helpers.cli import environment, write_config

HEAVY = ("torch", "lightning", "stable_baselines3", "jsonargparse", "matplotlib")
NEVER = ("pandas", "torchvision", "moviepy", "IPython", "tensorflow", "scipy")
"""What no command needs, and some package here would import if it were asked for a little more."""
_CODE = """
import sys
from lit_rl.__main__ import main
try:
    main()
finally:
    print("imported:", *(name for name in %r if name in sys.modules))
"""


def imported(*argv: Any, cwd: Path) -> tuple[list[str], str, int]:
    """What of the heavy packages a command imports, what it says on standard error, and its exit code."""
    command = [sys.executable, "-c", _CODE % ((*HEAVY, *NEVER),), *map(str, argv)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), cwd=cwd, check=False)
    return done.stdout.splitlines()[-1].split()[1:], done.stderr, done.returncode


@pytest.mark.parametrize(
    ("over", "text"),
    [
        ({"curriculm": {}}, "run.yaml: unknown key 'curriculm'. Did you mean 'curriculum'?"),
        (
            {"gamma": 0.9},
            "run.yaml: unknown key 'gamma'. It belongs below a block: model.gamma.",
        ),
        ({"net_arch": [8]}, "unknown key 'net_arch'. It belongs below a block: model.policy_kwargs.net_arch."),
        ({"env": {"n_env": 8}}, "run.yaml: unknown key 'env.n_env'. Did you mean 'n_envs'?"),
        ({"env": {"backend": "snyc"}}, "env.backend: 'snyc' is not one of auto, sync, async, native."),
        ({"env": {"id": "CartPol-v1"}}, "env.id: Environment `CartPol` doesn't exist. Did you mean 'CartPole-v1'?"),
        ({"env": {"id": "HalfCheetah-v3"}}, "env.id: HalfCheetah-v3 cannot be made any more. It is HalfCheetah-v5"),
        ({"env": {"id": None}}, "env.id is missing"),
        (
            {"model": {"class_path": "PPA"}},
            "model.class_path: there is no algorithm 'PPA'; there are A2C, ARS, CrossQ, DDPG,",
        ),
        ({"model": {"init_args": {"n_step": 8}}}, "unknown key 'model.init_args.n_step'. Did you mean 'n_steps'?"),
        ({"model": {"init_args": {"n_steps": 0}}}, "model.n_steps is 0; it must be at least 1."),
        ({"model": {"init_args": {"policy": "MplPolicy"}}}, "model.policy: 'MplPolicy' is not one of MlpPolicy, Cnn"),
        ({"model": {"init_args": {"clip_range": "lim_1"}}}, "model.clip_range: 'lim_1' is neither a number"),
        ({"trainer": {"device": 1}}, "run.yaml: unknown key 'trainer.device'. Did you mean 'devices'?"),
        ({"trainer": {"precision": "32-ture"}}, "Did you mean '32-true'?"),
        ({"trainer": {"max_epochs": 3}}, "trainer.max_epochs is not used here; set total_timesteps"),
        ({"resume": {"total_timesteps": 1, "additional_timesteps": 1}}, "are both given; keep one"),
        ({"mode": "resume"}, "resume.checkpoint: 'last' of the run 'run' is not there"),
        ({"mode": "warmstart", "warmstart": {"checkpoint": "no/where"}}, "warmstart.checkpoint: 'no/where' is not the"),
        ({"name": "a/b"}, "name: 'a/b' holds a slash"),
    ],
)
def test_a_mistake_in_the_file_is_answered_at_once(tmp_path: Path, over: dict[str, Any], text: str) -> None:
    heavy, said, code = imported("fit", "--config", write_config(tmp_path, over), cwd=tmp_path)
    assert said.startswith("error: ")
    assert text in said
    assert said.count("\n") == 1
    assert code == 2
    assert heavy == []


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (("fit", "--config", "rnu.yaml"), "--config: 'rnu.yaml' is not there. Did you mean 'run.yaml'?"),
        (("fit", "--config", "run.yaml", "--ckpt_path", "nowhere"), "resume.checkpoint: 'nowhere' is not there"),
        (("fit", "--config", "run.yaml", "--learning_rate", "1"), "Did you mean --model.learning_rate?"),
        (("test", "--config", "run.yaml", "--episodes", "0"), "error: --episodes is 0; it must be at least 1."),
        (("fit",), "model is missing. Name an algorithm"),
    ],
)
def test_a_mistake_in_the_options_is_answered_at_once(tmp_path: Path, argv: tuple[str, ...], text: str) -> None:
    write_config(tmp_path)
    heavy, said, code = imported(*argv, cwd=tmp_path)
    assert text in said
    assert (heavy, code) == ([], 2)


def test_an_id_that_something_named_may_register_waits_for_the_run(tmp_path: Path) -> None:
    """An import path anywhere may register it: that is known once it has been imported."""
    (tmp_path / "mine.py").write_text(
        "import gymnasium\nfrom gymnasium.envs.classic_control import CartPoleEnv\n"
        "from lightning.pytorch import Callback\n"
        "gymnasium.register('Mine-v0', CartPoleEnv, max_episode_steps=9)\nclass Mine(Callback): pass\n"
    )
    config = write_config(tmp_path, {"env": {"id": "Mine-v0"}, "trainer": {"callbacks": ["mine.Mine"]}})
    heavy, said, code = imported("fit", "--config", config, "--pause_at", 1, cwd=tmp_path)
    assert code == 75, said
    assert "torch" in heavy


def test_what_is_only_shown_is_not_looked_for(tmp_path: Path) -> None:
    config = write_config(tmp_path, {"mode": "resume", "env": {"id": "Elsewhere-v0"}})
    _, said, code = imported("fit", "--config", config, "--print_config", cwd=tmp_path)
    assert code == 0, said


@pytest.mark.parametrize("command", ["fit", "validate", "test"])
def test_help_imports_nothing_that_takes_seconds(tmp_path: Path, command: str) -> None:
    heavy, said, code = imported(command, "--help", "--model", "SAC", cwd=tmp_path)
    assert (heavy, said, code) == ([], "", 0)


def test_the_schema_imports_nothing_that_takes_seconds(tmp_path: Path) -> None:
    heavy, said, code = imported("schema", cwd=tmp_path)
    assert (heavy, said, code) == ([], "", 0)


def test_one_parser_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = list[str]()
    prepare = LightningCLI._prepare_subcommand_parser

    def counted(self: LightningCLI, klass: type, subcommand: str, **kwargs: Any) -> Any:
        made.append(subcommand)
        return prepare(self, klass, subcommand, **kwargs)

    monkeypatch.setattr(LightningCLI, "_prepare_subcommand_parser", counted)
    with pytest.raises(SystemExit):
        run_command(["test", "--config", str(write_config(tmp_path)), "--print_config"])
    assert made == ["test"]


_COLLECTED = """
import atexit, gc
from lit_rl.__main__ import main
atexit.register(lambda: print("frozen:", gc.get_freeze_count() > 100_000, "collecting:", gc.isenabled()))
main()
"""


def test_what_imports_leave_is_not_looked_through_for_garbage(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _COLLECTED, "fit", "--config", str(write_config(tmp_path)), "--pause_at", "1"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (75, "frozen: True collecting: True"), done.stderr


def test_a_process_that_is_not_ours_collects_as_it_did() -> None:
    frozen = gc.get_freeze_count()
    with importing():
        assert gc.isenabled()
    assert gc.get_freeze_count() == frozen
