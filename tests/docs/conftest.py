"""The command line in this process, and what a page's modules leave in it taken away."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.pages import block
from tests.runs.conftest import cli  # noqa: F401

MODULES = ("corridor", "my_nets", "my_env", "my_module", "my_package")


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The modules that the pages write, and empty ones that they only name, in a directory on the path."""
    texts = {
        "corridor": block("docs/tutorial/my-environment.md", "python"),
        "my_nets": block("docs/policies.md", "python"),
        "my_env": block("docs/curriculum.md", "python"),
        "my_package": "import lightning\n\n\nclass MyCallback(lightning.Callback):\n    pass\n",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in MODULES:
        sys.modules.pop(name, None)
