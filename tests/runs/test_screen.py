"""What a terminal shows of a run: nothing is cut, and lines are broken between words."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

import pytest

from lit_rl.process import on_screen
from tests.runs.conftest import Cli

LEVELS: dict[str, Any] = {
    "env": {"id": None, "class_path": "lit_rl.envs.examples.gates.Gates"},
    "curriculum": {
        "levels": [
            {
                "name": "a near goal in the open",
                "env_kwargs": {"level": 0},
                "promote": {"metric": "timesteps", "threshold": 128},
            },
            {"name": "a goal behind a wall", "env_kwargs": {"level": 1}},
        ]
    },
}
BAR = re.compile(r"100% \|█+\| 512/512, [\d:]+ left(.*)")
PARTS = {"fps": r"[\d,]+ fps", "return": r"return [\d.]+", "level": r"level 1", "success": r"success \d+%"}


@pytest.mark.parametrize(
    ("columns", "shown"),
    [(100, [*PARTS]), (80, ["return", "level", "success"]), (64, ["return", "level"]), (40, [])],
)
def test_a_run_fits_the_terminal(
    cli: Cli, terminal: Callable[[int], Callable[[], str]], columns: int, shown: list[str]
) -> None:
    config = cli.config(LEVELS)
    read = terminal(columns)
    cli("fit", "--config", config)
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", read())]
    assert max(map(len, lines)) <= columns
    end = [match[1] for line in lines if (match := BAR.fullmatch(line))][-1]
    speed = f"(, {PARTS['fps']})?" if columns == 80 else ""  # there is room for it or not, as the numbers are long
    assert re.fullmatch(speed + "".join(f", {PARTS[name]}" for name in shown), end)
    change = next(number for number, line in enumerate(lines) if line.startswith("curriculum: level 0 'a near goal"))
    text = " ".join(line.strip() for line in lines[change : change + 5])
    assert "-> 1 'a goal behind a wall' at timestep 128 (2 episodes and 128 timesteps at the level)" in text


def test_what_is_no_terminal_gets_whole_lines() -> None:
    text = "a line " * 40
    assert on_screen(text, None) == text
    with open(os.devnull, "w") as stream:
        assert on_screen(text, stream) == text
