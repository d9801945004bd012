"""Another run's transitions as what came before this run's first step: their rows have numbers below that of the next.

So rows are still counted from the run's start, and whatever goes by their number (what is drawn, how often a target
network follows) is what it would be without them. Shapes: N environments of this rank.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lit_rl.data.replay import Replay
from lit_rl.data.ring import copied, named
from lit_rl.errors import ConfigError
from lit_rl.ops.tree import tree_map

Piece = tuple[int, int, dict[str, np.ndarray]]
"""Begin, end and columns of some rows, see `Replay.columns`."""


def count_from(replay: Replay, row: int) -> None:
    """Let an empty replay count its rows from another than 0."""
    where = {"begin": row, "end": row, "n_envs": replay.n_envs, "head": None, "since": np.full(replay.n_envs, row)}
    replay.load_state_dict({**where, "pieces": []})


def carry_over(replay: Replay, state: dict[str, Any], what: str, levels: int | None = None) -> int:
    """Let an empty replay begin with the newest rows of another run's, below its next row.

    Episodes that were in flight at its end count as cut off there.

    Args:
        replay: of a run that has not begun.
        state: the other's, as `Replay.load_state_dict` takes it; its `pieces` are consumed.
        what: where it comes from, for messages.
        levels: how many levels of a curriculum there must be, where it matters (hindsight).

    Returns:
        transitions of the other run.

    Raises:
        ConfigError: it is of another number of environments, of other observations or actions, or of other levels.
    """
    if int(state["n_envs"]) != replay.n_envs:
        raise ConfigError(
            f"warmstart.load: the replay of {what} is of {state['n_envs']} environments, and env.n_envs is "
            f"{replay.n_envs}; set env.n_envs: {state['n_envs']}, or take replay out of warmstart.load."
        )
    begin, end = int(state["begin"]), int(state["end"])
    since = copied(state["since"]) if "since" in state else np.full(replay.n_envs, -1 if begin else 0)
    head = None if state["head"] is None else tree_map(copied, state["head"])
    fitting = _fitting(replay, state["pieces"], what, levels)
    back = end - replay.end
    pieces = (_before(piece, end, back, head) for piece in fitting)
    past = {"begin": begin - back, "end": replay.end, "n_envs": replay.n_envs, "head": None, "since": since - back}
    replay.load_state_dict({**past, "pieces": pieces})
    return (end - begin) * replay.n_envs


def _fitting(replay: Replay, pieces: Iterator[Piece], what: str, levels: int | None) -> Iterator[Piece]:
    """The same, looked at one by one."""
    ours = replay.columns(replay.begin, replay.begin)
    ours = {name: column for name, column in ours.items() if not name.startswith("final")}
    for begin, end, columns in pieces:
        for name, mine in ours.items():
            theirs = columns.get(name)
            if theirs is None or (theirs.shape[1:], theirs.dtype) != (mine.shape[1:], mine.dtype):
                has = "none" if theirs is None else f"{theirs.dtype} {list(theirs.shape[2:])}"
                raise ConfigError(
                    f"warmstart.load: the replay of {what} does not fit: '{name}' is {has} there and "
                    f"{mine.dtype} {list(mine.shape[2:])} here; take replay out of warmstart.load."
                )
        level = int(columns["level"].max(initial=0))
        if levels is not None and level >= levels:
            raise ConfigError(
                f"warmstart.load: the replay of {what} has transitions of level {level}, and the curriculum has "
                f"{levels}; model.her works out rewards on the level of each. Take replay out of warmstart.load."
            )
        yield begin, end, columns


def _before(piece: Piece, last: int, back: int, head: Any) -> Piece:
    """Rows of a run that ended before row `last` as what came before another, whose numbers are lower by `back`.

    `head` is what its environments showed at the end.
    """
    begin, end, columns = piece
    columns = {**columns, "final_row": columns["final_row"] - back}
    flying = np.flatnonzero(~(columns["terminated"][-1] | columns["truncated"][-1]))
    if end == last and len(flying):
        columns["truncated"] = columns["truncated"].copy()
        columns["truncated"][-1, flying] = True
        shown = named("obs", tree_map(lambda part: part[flying], head))
        cut = {f"finals{name.removeprefix('obs')}": part.astype(columns[name].dtype) for name, part in shown.items()}
        cut |= {"final_row": np.full(len(flying), last - 1 - back), "final_env": flying}
        columns |= {name: np.concatenate([columns[name], new]) if name in columns else new for name, new in cut.items()}
    return begin - back, end - back, columns
