"""What is shipped is true: every configuration parses, the README's example runs, its file tree stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from lit_rl.algorithms import algorithms
from lit_rl.cli.check import check_given
from lit_rl.cli.dispatch import run_command
from lit_rl.cli.given import model_name, read_arguments
from tests.helpers.cli import ROOT

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_configuration_parses(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (given,) = read_arguments(["--config", str(path)])
    check_given(given, model_name([given]))
    with pytest.raises(SystemExit) as left:
        run_command(["fit", "--config", str(path), "--print_config"])
    assert left.value.code in (0, None)
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["model"]["class_path"].rsplit(".", 1)[-1] in algorithms()


def test_the_readme_names_every_room() -> None:
    readme = (ROOT / "README.md").read_text()
    tree = readme.split("<!-- tree -->")[1].split("```")[1]
    rooms = [p.name + "/" for p in (ROOT / "lit_rl").iterdir() if p.is_dir() and (p / "__init__.py").exists()]
    tops = [f"{name}/" for name in ("configs", "tests", "benchmarks", "docs", "scripts")]
    for name in [*rooms, *tops]:
        assert name in tree, f"{name} is missing from the README's tree"
    for name in re.findall(r"^  (\w+/)", tree, re.M):
        assert (ROOT / "lit_rl" / name).is_dir(), f"the README names lit_rl/{name}, which is not there"


def test_the_readmes_links_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readmes_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (ROOT / "README.md").read_text().split("```python")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    exec(compile(code.replace("50_000", "1_024"), "README.md", "exec"), {"__name__": "__main__"})
    assert (tmp_path / "lightning_logs" / "from_python" / "version_0" / "checkpoints" / "last").exists()


def test_the_reliability_table_names_tests_that_are_there() -> None:
    table = (ROOT / "docs" / "reliability.md").read_text()
    file = ""
    for path, name in re.findall(r"`(tests/[\w/]+\.py)?(?:::(\w+))?(?:\[[^`]*\])?`", table):
        if not (path or name):
            continue
        file = path or file
        text = (ROOT / file).read_text()
        assert f"def {name}(" in text or not name, f"docs/reliability.md names {file}::{name}"


def test_help_names_the_algorithms(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["fit", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for name in algorithms():
        assert f" {name}," in text


def test_messages_that_the_docs_explain_are_there() -> None:
    sources = "".join(file.read_text() for file in (ROOT / "lit_rl").rglob("*.py"))
    said = re.sub(r'"\s*\n\s*f?"', "", sources)  # texts over several lines
    rows = re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    assert len(rows) > 10
    assert [row for row in rows if row not in said] == []
