"""Every YAML in the docs is what `fit` takes: the whole of a file, or a part of one beside an environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lit_rl.cli.dispatch import run_command
from tests.helpers.cli import ROOT
from tests.helpers.pages import blocks
from tests.runs.conftest import Cli

PAGES = [path.relative_to(ROOT) for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]]
OF_OTHERS = ("search", "environment_parameters")
"""Keys of files that are not for `fit`: of a sweep, of ML-Agents."""
FILES = [
    pytest.param(text, id=f"{page}-{number}")
    for page in PAGES
    for number, text in enumerate(blocks(str(page), "yaml"))
    if not text.startswith(" ") and not any(f"\n{key}" in f"\n{text}" for key in OF_OTHERS)
]
SETTINGS_OF_A_MODEL = ("learning_rate", "prioritized_replay")
BASE: dict[str, Any] = {"env": {"id": "CartPole-v1"}, "model": {"class_path": "PPO"}}


@pytest.mark.parametrize("text", FILES)
def test_it_is_what_fit_takes(cli: Cli, modules: Path, text: str) -> None:
    if "WandbLogger" in text:
        pytest.importorskip("wandb")
    given = yaml.safe_load(text)
    if next(iter(given)) in SETTINGS_OF_A_MODEL:  # of an algorithm that has them all
        given = {"model": {"class_path": "DQN", "init_args": given}}
    base = {key: value for key, value in BASE.items() if key not in given}
    files = []
    for name, content in (("base.yaml", yaml.safe_dump(base)), ("page.yaml", yaml.safe_dump(given))):
        Path(name).write_text(content)
        files += ["--config", name]
    cli.capture.readouterr()
    with pytest.raises(SystemExit) as end:
        run_command(["fit", *files, "--print_config"])
    out, err = cli.capture.readouterr()
    assert not end.value.code, err
    assert set(given) <= set(yaml.safe_load(out))


def test_the_pages_have_files() -> None:
    assert len(FILES) > 10
