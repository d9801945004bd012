"""The docs site: the Markdown of this directory, with a reference that is made from the code.

scripts/docs
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from reference_pages import write_pages  # noqa: E402

from lit_rl.version import __version__  # noqa: E402

project = "lit_rl"
author = "the lit_rl authors"
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
nitpicky = False

html_theme = "furo"
html_title = f"lit_rl {release}"
html_static_path: list[str] = []

myst_heading_anchors = 4
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_use_rtype = False


def setup(app: Any) -> None:
    """Pages of the reference are written before Sphinx looks for pages."""
    app.connect("config-inited", lambda *_: write_pages(HERE / "reference"))
