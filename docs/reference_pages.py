"""Pages of the reference: every key of the YAML, and the Python API. Made from the code at every build of the site."""

from __future__ import annotations

import html
from collections.abc import Iterable
from pathlib import Path

import lit_rl
from lit_rl.cli.blocks import BLOCKS
from lit_rl.cli.help import kind_of, shown_default
from lit_rl.cli.models import models_by_name
from lit_rl.cli.settings import MISSING, TOP, Setting, block_settings, settings_of, trainer_settings

_MADE = "<!-- Made by docs/reference_pages.py. -->"


def write_pages(directory: Path) -> None:
    """Write `keys.md` and `api.md`."""
    directory.mkdir(exist_ok=True)
    for name, text in (("keys", keys()), ("api", api())):
        file = directory / f"{name}.md"
        if not file.exists() or file.read_text() != text:  # else Sphinx would build it anew
            file.write_text(text)


def keys() -> str:
    """Every key with its type, default, range and meaning."""
    lines = [_MADE, "# Every key of the YAML", ""]
    lines += ["`lit-rl fit --help` shows the same in a terminal, and `lit-rl schema` gives it to editors.", ""]
    lines += ["## The run", "", *_table(TOP.values())]
    for block, record in BLOCKS.items():
        lines += [f"## {block}", "", _first_line(record.__doc__), "", *_table(block_settings(block))]
    for name, settings in models_by_name().items():
        lines += [f"## model: {name}", "", _first_line(settings.doc), "", *_table(settings_of(settings))]
    lines += [
        "## trainer",
        "",
        "Lightning's Trainer, what of it means something here.",
        "",
        *_table(trainer_settings()),
    ]
    return "\n".join(lines)


def _first_line(doc: str | None) -> str:
    return (doc or "").strip().partition("\n")[0]


def _table(settings: Iterable[Setting]) -> list[str]:
    lines = ["| key | type | default | |", "|---|---|---|---|"]
    for each in settings:
        default = "" if each.default is MISSING else f"`{shown_default(each.default)}`"
        cells = (f"`{each.key}`", html.escape(kind_of(each.hint)), default, _as_text(each.said))
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return [*lines, ""]


def _as_text(said: str) -> str:
    """Angle brackets as such, but in code, where they are anyway."""
    parts = said.split("`")
    return "`".join(part if i % 2 else part.replace("<", "\\<") for i, part in enumerate(parts))


def api() -> str:
    """What `import lit_rl` gives, each with its docstring."""
    lines = [_MADE, "# The Python API", "", "What `import lit_rl` gives.", ""]
    for name in lit_rl.__all__:
        thing = getattr(lit_rl, name)
        if name.startswith("_"):
            continue
        kind = "autoclass" if isinstance(thing, type) else "autofunction"
        lines += [f"## {name}", "", "```{eval-rst}", f".. {kind}:: {thing.__module__}.{thing.__name__}", "```", ""]
    return "\n".join(lines)
