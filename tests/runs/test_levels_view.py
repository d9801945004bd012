"""`view: levels`: what a terminal shows of a curriculum while a run goes, and that it changes nothing else."""

from __future__ import annotations

import os
import pty
import re
import signal
import sys
from collections.abc import Callable
from typing import Any

import pyte
import pytest

from lit_rl.callbacks import levels_view, progress
from lit_rl.callbacks.screen import Screen
from tests.helpers.cli import ROOT
from tests.runs.conftest import Cli, set_size

Terminal = Callable[[int], Callable[[], str]]

GATES: dict[str, Any] = {"env": {"id": None, "class_path": "lit_rl.envs.examples.gates.Gates", "n_envs": 8}}
SAMPLED: dict[str, Any] = GATES | {
    "curriculum": {
        "sample": "uniform",
        "levels": [{"name": name, "env_kwargs": {"level": i}} for i, name in enumerate(("near", "middle", "far"))],
    },
    "eval": {"every": 256, "episodes": 2},
}
MANY: dict[str, Any] = {
    "env": {"id": None, "class_path": "tests.helpers.levels.Limited", "n_envs": 8},
    "curriculum": {
        "schedule": {"strategy": "ladder", "start": [10, 80]},
        "n_levels": 100,
        "env_kwargs": {"limit": 3},
    },
}
ROW = re.compile(r"(>| ) (.{1,24}?)\s+[ █▏▎▍▌▋▊▉]*\s(\d+)\s+(?:(<?\d+%|-)\s+)?(\d+%|-)")


def picture(sent: str, columns: int, rows: int = 200) -> list[str]:
    """The lines of a terminal that was sent this, without the empty ones."""
    screen = pyte.Screen(columns, rows)
    pyte.Stream(screen).feed(sent)
    return [line.rstrip() for line in screen.display if line.strip()]


def levels_in(lines: list[str]) -> dict[str, tuple[str, int, str | None, str]]:
    """Of every level its mark, number of environments, coming share and success."""
    found = [match for line in lines if (match := ROW.fullmatch(line))]
    return {match[2].strip(): (match[1], int(match[3]), match[4], match[5]) for match in found}


def test_levels_stand_above_the_bar(cli: Cli, terminal: Terminal) -> None:
    read = terminal(80)
    cli("fit", "--config", cli.config(SAMPLED), "--view", "levels")
    lines = picture(read(), 80)
    head = lines.index(next(line for line in lines if line.startswith("levels: 0 to 2, chosen by uniform")))
    assert lines[head].endswith("envs  coming  success")
    shown = levels_in(lines)
    assert [*shown] == ["near", "middle", "far"]
    assert sum(envs for _, envs, *_ in shown.values()) == 8
    assert {coming for _, _, coming, _ in shown.values()} == {"33%"}
    assert shown["near"][3] != "-"
    assert lines[head + 4].startswith("100% |")
    assert lines[head + 5].startswith("finished: ")
    events = [i for i, line in enumerate(lines) if line.startswith("evaluation at timestep")]
    assert len(events) == 2
    assert max(events) < head


def test_only_what_is_around_the_most_played_levels_has_room(cli: Cli, terminal: Terminal) -> None:
    read = terminal(80)
    cli("fit", "--config", cli.config(MANY), "--view", "levels")
    lines = picture(read(), 80)
    head = lines.index(next(line for line in lines if line.startswith("levels: 0 to 99, chosen by ladder")))
    end = lines.index(next(line for line in lines if line.startswith("100% |")))
    assert end - head <= 22
    shown = levels_in(lines[head:end])
    assert sum(envs for _, envs, *_ in shown.values()) == 8
    (before,) = [name for name in shown if name.endswith("more before")]
    (after,) = [name for name in shown if name.endswith("more after")]
    rows = [int(name) for name in shown if name not in (before, after)]
    assert rows == [*range(rows[0], rows[-1] + 1)]
    assert (before, after) == (f".. {rows[0]} more before", f".. {99 - rows[-1]} more after")
    assert any(shown[str(row)][1] and shown[str(row)][3] == "100%" for row in rows)  # every episode is a success


@pytest.mark.parametrize(("columns", "numbers"), [(60, 3), (40, 3), (30, 2), (18, 1)])
def test_a_narrow_terminal_has_whole_columns(cli: Cli, terminal: Terminal, columns: int, numbers: int) -> None:
    read = terminal(columns)
    cli("fit", "--config", cli.config(SAMPLED), "--view", "levels")
    lines = picture(read(), columns)
    (head,) = [i for i, line in enumerate(lines) if re.match(r"levels.* envs", line)]
    names = re.findall("envs|coming|success", lines[head])
    assert names == ["envs", "coming", "success"][:numbers]
    row = lines[head + 1]
    assert row.startswith("  near")
    assert len(re.findall(r"\d+%?", row)) == numbers
    assert len(lines[head]) == len(row) <= columns - 2


def test_the_current_level_of_each_list_is_marked_and_bounds_are_shown(cli: Cli, terminal: Terminal) -> None:
    far: list[dict[str, Any]] = [{"name": f"d{i}", "attributes": {"distance": 0.4 + i}} for i in range(2)]
    far[0]["promote"] = {"metric": "timesteps", "threshold": 128}
    walls = {"sample": "uniform", "n_levels": 3, "attributes": {"walls": {"ramp": [0, 2], "over": "levels"}}}
    curriculum = {
        "dimensions": {"far": {"levels": far}, "walls": walls},
        "attributes": {"gate_width": {"adr": {"start": 0.5, "limits": [0.25, 0.75], "step": 0.125}}},
        "adr": {"widen": -2.0, "narrow": -3.0, "metric": "ep_rew_mean", "queue": 1, "boundary": 1.0},
    }
    read = terminal(100)
    cli("fit", "--config", cli.config(GATES | {"curriculum": curriculum}), "--view", "levels")
    lines = picture(read(), 100)
    one, two = (next(i for i, line in enumerate(lines) if line.startswith(f"{name}: ")) for name in ("far", "walls"))
    bounds = lines.index("bounds that adapt")
    assert one < two < bounds
    shown = levels_in(lines[one:two])
    assert (shown["d0"][0], shown["d1"][0]) == (" ", ">")
    assert sum(envs for _, envs, *_ in levels_in(lines[two:bounds]).values()) == 8
    said = re.fullmatch(r"  gate_width (-*)(█+)(-*) (0\.\d+) to (0\.\d+) of 0\.25 to 0\.75", lines[bounds + 1])
    assert said
    width, low, high = sum(map(len, said.groups()[:3])), float(said[4]), float(said[5])
    assert 0.25 <= low < 0.5 < high <= 0.75
    assert (len(said[1]), len(said[3])) == ((low - 0.25) / 0.5 * width, (0.75 - high) / 0.5 * width)


def test_without_a_terminal_there_is_a_line_more(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_LINE_EVERY_S", 0.0)
    monkeypatch.setattr(progress, "_LOOK_EVERY_S", 0.01)
    out = cli("fit", "--config", cli.config(SAMPLED), "--view", "levels").out
    found = re.findall(r"^  environments by level: (.*)$", out, re.M)
    assert found
    for line in found:
        assert sum(int(part.split(" on ")[0]) for part in line.split(", ")) == 8
    assert "environments by level" not in cli("fit", "--config", cli.config(SAMPLED)).out


def test_what_is_off_is_not_made_and_what_is_on_changes_nothing(
    cli: Cli, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = cli.config(SAMPLED)
    read = terminal(80)
    cli("fit", "--config", config, "--view", "levels", "--pause_at", 256, expect=75)
    assert levels_in(picture(read(), 80))
    monkeypatch.setattr(levels_view.LevelsView, "__init__", lambda *_: pytest.fail("it was made"))
    cli("fit", "--config", config, "--mode", "resume")  # no setting has changed that would have to be accepted
    cli("fit", "--config", config)
    assert not levels_in(picture(read(), 80))
    monkeypatch.undo()
    monkeypatch.chdir(cli.cwd)
    cli("diff", "run/0", "run/1")


def test_mistakes_are_named(cli: Cli) -> None:
    assert "view" in (said := cli.error("fit", "--config", cli.config(SAMPLED), "--view", "level"))
    assert "levels" in said
    said = cli.error("fit", "--config", cli.config(name="other.yaml"), "--view", "levels")
    assert said == "view is levels, and this run has no curriculum; remove it."


# -- the screen ------------------------------------------------------------------------------------------------------


def test_whatever_is_printed_goes_above(terminal: Terminal) -> None:
    read = terminal(40)
    before = sys.stdout
    screen = Screen(sys.stderr)
    screen.draw(["first", "second"])
    print("a line")
    print("an", end=" ")
    screen.draw(["1st", "2nd", "3rd"])
    print("other")
    screen.draw(["last"])
    print("a rest", end="", file=sys.stderr)
    screen.close()
    assert sys.stdout is before
    print("after")
    assert picture(read(), 40) == ["a line", "an other", "last", "a restafter"]


def test_a_message_below_the_picture_stays(terminal: Terminal) -> None:
    read = terminal(40)
    screen = Screen(sys.stderr)
    screen.draw(["first", "second"])
    os.write(sys.stderr.fileno(), b"\nstopping\n")
    screen.leave()
    screen.draw(["first", "2nd"])
    screen.draw(["first", "3rd"])
    screen.close()
    assert picture(read(), 40) == ["first", "second", "stopping", "first", "3rd"]


def test_while_its_size_changes_nothing_is_drawn(terminal: Terminal) -> None:
    read = terminal(40)
    screen = Screen(sys.stderr)
    screen.draw(["first", "second"])
    set_size(sys.stderr.fileno(), 30, 10)
    screen.draw(["too early"])
    assert screen.size() == (30, 10)
    assert "early" not in (sent := read())
    screen.draw(["now"])
    screen.close()
    assert picture(sent + read(), 40) == ["now"]


@pytest.mark.timeout(120)
def test_ctrl_c_is_answered_between_two_pictures(cli: Cli) -> None:
    config = cli.config(SAMPLED | {"total_timesteps": 10_000_000, "eval": {"every": None}})
    process, terminal = pty.fork()
    if process == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # where tests run in the background it is ignored
        os.environ["PYTHONPATH"] = str(ROOT)
        words = ["fit", "--config", str(config), "--view", "levels"]
        os.execv(sys.executable, [sys.executable, "-m", "lit_rl", *words])
    set_size(terminal, 80, 40)
    sent, asked = b"", False
    while True:
        try:
            sent += os.read(terminal, 4096)
        except OSError:  # it has ended
            break
        if not asked and sent.count(b"envs  coming") > 3:
            os.write(terminal, b"\x03")
            asked = True
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 75
    os.close(terminal)
    lines = picture(sent.decode(), 80)
    stop = next(i for i, line in enumerate(lines) if line.startswith("SIGINT: stopping at the end"))
    heads = [i for i, line in enumerate(lines) if line.startswith("levels: 0 to 2")]
    assert len(heads) == 2
    assert heads[0] < stop < heads[1]
    names = {"near", "middle", "far"}
    assert levels_in(lines[: heads[1]]).keys() <= names, "the line may come while the picture is drawn"
    assert levels_in(lines[heads[1] :]).keys() == names
