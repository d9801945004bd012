"""The pages' Python runs as it stands, on trainings that are shorter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from gymnasium.utils.env_checker import check_env

import lit_rl
from tests.helpers.cli import CARTPOLE, merged
from tests.helpers.pages import block, blocks, run_block
from tests.inference.conftest import trained  # noqa: F401
from tests.runs.conftest import Cli

SHORT = ("--total_timesteps", 256, "--env.n_envs", 2, "--env.backend", "sync")
SMALL = ("--model.n_steps", 64, "--model.batch_size", 64, "--model.n_epochs", 1)


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial/first-run.md"])
def test_a_trained_policy_acts(trained: Callable[..., Path], page: str) -> None:  # noqa: F811
    code = blocks(page, "python")[-1]
    written = code.split('load("')[1].split('"')[0]
    left = run_block(code.replace(written, str(trained("PPO"))))
    assert left["action"] in (0, 1)


def test_a_first_environment(cli: Cli, modules: Path) -> None:
    check_env(run_block((modules / "corridor.py").read_text())["Corridor"](), skip_render_check=True)
    cli("init", "corridor:Corridor", "--out", "run.yaml")
    Path("by_hand.yaml").write_text(block("docs/tutorial/my-environment.md", "yaml"))
    for files in (("--config", "run.yaml"), ("--config", "by_hand.yaml", "--model", "PPO")):
        assert "finished: timestep 256" in cli("fit", *files, *SHORT, *SMALL).out


def test_levels_of_it(cli: Cli, modules: Path) -> None:
    Path("run.yaml").write_text(block("docs/tutorial/levels.md", "yaml"))
    out = cli("fit", "--config", "run.yaml", "--total_timesteps", 5000, "--eval.every", 5000, "--eval.episodes", 2).out
    assert "level 0 'short' -> 1 'long'" in out
    out = cli("test", "lightning_logs/corridor/version_0", "--episodes", 1).out
    assert [f"level: {name}" in out for name in ("short", "long", "very long")] == [True] * 3


def test_nets_of_ones_own(cli: Cli, modules: Path) -> None:
    page = yaml.safe_load(block("docs/policies.md", "yaml"))
    Path("nets.yaml").write_text(yaml.safe_dump(merged({**CARTPOLE, "model": {}}, page)))
    cli("fit", "--config", "nets.yaml", *SHORT, *SMALL)
    kwargs: dict[str, Any] = page["model"]["init_args"]["policy_kwargs"]
    agent = lit_rl.load("lightning_logs/run/version_0", settings={"policy_kwargs": kwargs})
    assert type(agent.module.policy.features_extractor).__name__ == "Extractor"
    assert agent.module.policy.optimizer_class.__name__ == "AdamW"


def test_the_cells_of_a_notebook(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    plot = pytest.importorskip("matplotlib.pyplot")
    pytest.importorskip("pandas")
    monkeypatch.setattr(plot, "show", lambda: None)
    plot.switch_backend("agg")
    names: dict[str, Any] = {}
    page = "docs/notebooks.md"
    for number, target in enumerate(({"n_steps=128": "n_steps=64"}, {"20_000": "512"}, {"50_000": "1024"}, {})):
        names = run_block(block(page, "python", number, **target), names)
    assert names["agent"].timesteps == 1024
    plot.close("all")


def test_a_script_with_a_logger(cli: Cli) -> None:
    pytest.importorskip("wandb")
    code = block("docs/callbacks.md", "python", **{"WandbLogger": "CSVLogger", "project=": "save_dir=", "50_000": "64"})
    run_block(code.replace(", offline=True", "").replace('"n_envs": 8', '"n_envs": 2, "backend": "sync"'))
    assert (cli.run("logged") / "checkpoints" / "last").exists()


def test_exported_policies_need_nothing_of_ours(cli: Cli, trained: Callable[..., Path]) -> None:  # noqa: F811
    pytest.importorskip("onnxruntime")
    observations = np.zeros((5, 4), np.float32)
    for number, (kind, name) in enumerate((("onnx", "policy.onnx"), ("torchscript", "policy.pt")), 1):
        cli("export", trained("PPO"), "--format", kind, "--out", name)
        left = run_block(block("docs/inference.md", "python", number), {"observations": observations})
        assert np.asarray(left["actions"]).shape == (5,)
