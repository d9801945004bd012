"""Replay buffers of stable-baselines3 (`model.save_replay_buffer`), read as records and given out as rows of a replay.

Source: `stable_baselines3/common/buffers.py` and `her/her_replay_buffer.py`. Arrays are views of the file, which is
mapped: reading takes no memory but that of the replay. Shapes: R rows of the buffer, N environments.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from lit_rl.data.ring import named, read
from lit_rl.data.rollout import stored_dtype
from lit_rl.errors import ConfigError, DataError
from lit_rl.interop.places import numbered
from lit_rl.interop.vecnormalize import SPACES
from lit_rl.ops.tree import leaves
from lit_rl.untrusted.archive import check_path
from lit_rl.untrusted.arrays import array_of
from lit_rl.untrusted.pickles import Made, parse

_BUFFERS = {
    **{f"stable_baselines3.common.buffers.{name}": name for name in ("ReplayBuffer", "DictReplayBuffer")},
    "stable_baselines3.common.buffers.NStepReplayBuffer": "NStepReplayBuffer",
    "stable_baselines3.her.her_replay_buffer.HerReplayBuffer": "HerReplayBuffer",
}
_ALLOWED = SPACES | {
    *_BUFFERS,
    "torch.device",
    "stable_baselines3.her.goal_selection_strategy.GoalSelectionStrategy",
}
_MOST_OPCODES = 8_000_000
"""HerReplayBuffer has an empty dictionary for every transition, of two opcodes."""
FIXES = {
    "warmstart": "take replay out of warmstart.load, or name another pickle with warmstart.replay.",
    "resume": "name another pickle with resume.replay, or move this one away to go on without.",
}
"""What to do about a pickle that does not fit, by the block of the run's YAML that names it."""
_CHUNK = 1 << 22
"""Bytes, about, that are looked at together."""


@dataclass(frozen=True)
class PickledReplay:
    """What a replay pickle holds.

    Args:
        path: of the file.
        kind: name of the buffer's class.
        columns: its arrays [R, N, ...] by our names: `obs`, `next_obs` (with `/key` for the parts of a Dict; no
            `next_obs` where it was saved with `optimize_memory_usage`), `action`, `reward`, `done`, `timeout`.
        action_space: as far as the pickle says it.
        oldest: the slot of the oldest row that is whole.
        count: rows that are whole.
        since: [N] row, counted from the oldest, with which the episode there began; -1 where it is not known.
        knows_timeouts: whether it says which episodes a time limit cut off.
        block: of the run's YAML that names the file, for errors.
    """

    path: Path
    kind: str
    columns: dict[str, np.ndarray]
    action_space: spaces.Space[Any] | None
    oldest: int
    count: int
    since: np.ndarray
    knows_timeouts: bool
    block: str

    @property
    def n_envs(self) -> int:
        return int(self.columns["reward"].shape[1])

    def state(self, like: Mapping[str, np.ndarray], numbers: Mapping[str, int]) -> dict[str, Any]:
        """The same as the state of a replay, see `carry_over`.

        Every observation is there once. Where one does not lead to the next, and where the buffer ends, the episode
        counts as cut off.

        Args:
            like: columns of the replay that is to take it, of no rows.
            numbers: how many values a column of whole numbers may have, from 0 on.

        Raises:
            ConfigError: it is of other observations or actions.
            DataError: it is damaged; now, or when the pieces are read.
        """
        keys = {key for key in self.columns if key.partition("/")[0] in ("obs", "action")}
        wanted = {key for key in like if key.partition("/")[0] in ("obs", "action")}
        if keys != wanted:
            theirs, ours = (", ".join(sorted(names)) for names in (keys, wanted))
            raise ConfigError(
                f"{self.block}: {self.path} holds {theirs}, and this run has {ours}: it is of another environment; "
                f"{FIXES[self.block]}"
            )
        for key in sorted(keys):
            self._check_column(key, like[key])
        pieces = self._pieces(like, numbers)
        return {
            "begin": 0,
            "end": self.count,
            "n_envs": self.n_envs,
            "head": None,
            "since": self.since,
            "pieces": pieces,
        }

    def _check_column(self, key: str, mine: np.ndarray) -> None:
        theirs = self.columns[key]
        shape = theirs.shape[2:]
        single = shape == (1,) and mine.ndim == 2  # a Discrete
        stored = torch.zeros(0, dtype=stored_dtype(theirs.dtype.newbyteorder("="))).numpy().dtype
        if not (shape == mine.shape[2:] or single) or stored != mine.dtype:
            raise ConfigError(
                f"{self.block}: '{key}' is {theirs.dtype} {list(shape)} in {self.path}, and {mine.dtype} "
                f"{list(mine.shape[2:])} in this run: it is of another environment; {FIXES[self.block]}"
            )

    def _pieces(
        self, like: Mapping[str, np.ndarray], numbers: Mapping[str, int]
    ) -> Iterator[tuple[int, int, dict[str, np.ndarray]]]:
        row_bytes = sum(column[:1].nbytes for column in self.columns.values())
        size = max(_CHUNK // max(row_bytes, 1), 1)
        for begin in range(0, self.count, size):
            end = min(begin + size, self.count)
            yield begin, end, self._rows(begin, end, like, numbers)

    def _rows(
        self, begin: int, end: int, like: Mapping[str, np.ndarray], numbers: Mapping[str, int]
    ) -> dict[str, np.ndarray]:
        """Some rows, counted from the oldest, by column."""
        found = {name: self._read(name, begin, end) for name in self.columns if not name.startswith("next_obs")}
        done, timeout = (found.pop(name) for name in ("done", "timeout"))
        for name, flags in (("dones", done), ("timeouts", timeout)):
            if not ((flags == 0) | (flags == 1)).all():
                raise DataError(f"{self.path}: {name} holds something other than 0 and 1: damaged.")
        after = {name: self._next(name, begin, end) for name in found if name.partition("/")[0] == "obs"}
        for name, values in [*found.items(), *after.items()]:
            self._check_values(name, values, numbers.get(name))
        terminated = (done > 0) & ~(timeout > 0)
        truncated = timeout > 0
        truncated |= ~(terminated | truncated | self._leads_on(begin, end, after))
        row, env = np.nonzero(terminated | truncated)
        rows = {name: _as(values, like[name]) for name, values in found.items()}
        rows |= {"terminated": terminated, "truncated": truncated, "level": np.zeros(done.shape, np.int16)}
        rows |= {"final_row": begin + row, "final_env": env}
        if len(row):
            rows |= {f"finals{n.removeprefix('obs')}": _as(values, like[n])[row, env] for n, values in after.items()}
        return rows

    def _read(self, name: str, begin: int, end: int) -> np.ndarray:
        return read(self.columns[name], self.oldest + begin, self.oldest + end)

    def _next(self, name: str, begin: int, end: int) -> np.ndarray:
        """What rows led to, of one column of observations."""
        if f"next_{name}" in self.columns:
            return self._read(f"next_{name}", begin, end)
        return self._read(name, begin + 1, end + 1)

    def _leads_on(self, begin: int, end: int, after: Mapping[str, np.ndarray]) -> np.ndarray:
        """Whether each of some rows led to the observation of the next one, [rows, N]."""
        same = np.ones((end - begin, self.n_envs), dtype=bool)
        for name, values in after.items():
            following = self._read(name, begin + 1, end + 1)
            same &= (values == following).reshape(*same.shape, -1).all(axis=2)
        if end == self.count:
            same[-1] = False
        return same

    def _check_values(self, name: str, values: np.ndarray, most: int | None) -> None:
        what = name.replace("obs", "observations", 1)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise DataError(f"{self.path}: {what} holds values that are not finite.")
        if name == "action" and values.dtype.kind == "f" and np.abs(values).max(initial=0.0) > 1.0:
            raise DataError(f"{self.path}: action holds values outside -1 to 1, which stable-baselines3 scales to.")
        if most is not None and values.size and not 0 <= values.min() <= values.max() < most:
            raise ConfigError(
                f"{self.block}: {what} of {self.path} holds {values.min()} to {values.max()}, and this run has {most} "
                f"values; {FIXES[self.block]}"
            )


def _as(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    """In the shape and type that a replay stores."""
    return values.reshape(*values.shape[:2], *like.shape[2:]).astype(like.dtype, copy=False)


def read_replay(path: str | Path, block: str = "warmstart") -> PickledReplay:
    """The replay in a pickle; nothing in it is run. `block` of the run's YAML names it, for errors.

    Raises `ConfigError` when there is no such local file, `DataError` (one line) naming the file and what was refused
    or is damaged.
    """
    file = check_path(path, "the replay pickle")
    with open(file, "rb") as opened:
        if not file.stat().st_size:
            raise DataError(f"{path}: is empty.")
        stream = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    root = parse(stream, _ALLOWED, str(path), most=_MOST_OPCODES).value
    if stream.read(1):
        raise DataError(f"{path}: has data behind its pickle.")
    if not isinstance(root, Made) or root.name not in _BUFFERS or not isinstance(root.state, dict):
        raise DataError(f"{path}: is not a replay buffer of stable-baselines3.")
    try:
        return _replay(file, _BUFFERS[root.name], root.state, block)
    except KeyError as error:
        raise DataError(
            f"{path}: has no {error}: it is not whole, or of a stable-baselines3 before 1.8; save it with a newer one."
        ) from None
    except (TypeError, ValueError, AssertionError) as error:
        raise DataError(f"{path}: is not a whole replay buffer ({error}).") from None


def _replay(path: Path, kind: str, state: Mapping[str, Any], block: str) -> PickledReplay:
    columns = {
        **named("obs", _tree(state["observations"], "observations")),
        "action": array_of(state["actions"], "actions"),
        "reward": array_of(state["rewards"], "rewards"),
        "done": array_of(state["dones"], "dones"),
    }
    shared = _flag(state.get("optimize_memory_usage", False), "optimize_memory_usage")
    if not shared:
        columns |= named("next_obs", _tree(state["next_observations"], "next_observations"))
    knows = _flag(state.get("handle_timeout_termination", False), "handle_timeout_termination")
    columns["timeout"] = array_of(state["timeouts"], "timeouts") if knows else np.zeros_like(columns["done"])
    lead = columns["reward"].shape
    if len(lead) != 2 or not lead[0] or not lead[1]:
        raise ValueError(f"rewards has shape {lead}, and not one of rows and environments")
    for name, column in columns.items():
        plain = name in ("done", "timeout")
        if column.shape[:2] != lead or (plain and column.ndim != 2) or (name == "action" and column.ndim != 3):
            raise ValueError(f"{name} has shape {column.shape} beside rewards of {lead}")
    for name in [name for name in columns if name.startswith("next_obs")]:
        twin = columns.get(name.removeprefix("next_"))
        if twin is None or (twin.shape, twin.dtype) != (columns[name].shape, columns[name].dtype):
            raise ValueError(f"{name} is not like {name.removeprefix('next_')}")
    size, pos, full = lead[0], _integer(state["pos"], "pos"), _flag(state["full"], "full")
    if not 0 <= pos < size:
        raise ValueError(f"pos is {pos} of {size} rows")
    oldest, count = (pos, size) if full else (0, pos)
    if full and shared:  # its observation has been written over by what the newest led to
        oldest, count = (pos + 1) % size, size - 1
    since = np.full(lead[1], -1 if full else 0)
    if kind == "HerReplayBuffer":  # older ones keep episodes elsewhere, and nothing in these arrays
        starts = array_of(state["ep_start"], "ep_start")
        if starts.shape != lead:
            raise ValueError(f"ep_start has shape {starts.shape} beside rewards of {lead}")
        since[starts[oldest] == oldest] = 0
    return PickledReplay(path, kind, columns, _space(state.get("action_space")), oldest, count, since, knows, block)


def _tree(value: Any, name: str) -> Any:
    """An array, or a dictionary of arrays."""
    tree = {str(key): array_of(v, f"{name}[{key!r}]") for key, v in value.items()} if isinstance(value, dict) else None
    found = array_of(value, name) if tree is None else tree
    if not leaves(found):
        raise ValueError(f"{name} has no keys")
    return found


def _flag(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} is not true or false")
    return value


def _integer(value: Any, name: str) -> int:
    array = array_of(value, name)
    if array.shape != () or array.dtype.kind not in "iu":
        raise TypeError(f"{name} is not a whole number")
    return int(array)


def _space(record: Any) -> spaces.Space[Any] | None:
    """A Box or Discrete of actions from its record, `None` for others."""
    if not isinstance(record, Made) or not isinstance(record.state, dict):
        return None
    state, kind = record.state, record.name.rsplit(".", 1)[-1]
    if kind == "Discrete":
        return spaces.Discrete(max(_integer(state["n"], "action_space.n"), 1))
    if kind != "Box":
        return None
    low, high = (np.array(array_of(state[name], f"action_space.{name}"), dtype=np.float64) for name in ("low", "high"))
    if low.shape != high.shape:
        raise ValueError(f"action_space has bounds of shapes {low.shape} and {high.shape}")
    return spaces.Box(low, high, dtype=np.float64)


def find_replay(zip_path: str | Path) -> tuple[Path | None, list[Path]]:
    """The replay pickle that belongs to an agent's zip, or None, and every place looked at in order.

    Looked at are `CheckpointCallback`'s name (`rl_model_500_steps.zip` with `rl_model_replay_buffer_500_steps.pkl`),
    `agent_replay_buffer.pkl` beside `agent.zip`, and `replay_buffer.pkl`, which is the RL Zoo's.
    """
    path = Path(zip_path)
    places = []
    if (step := numbered(path.stem)) is not None:
        places.append(path.with_name(f"{step[0]}_replay_buffer_{step[1]}_steps.pkl"))
    places += [path.with_name(f"{path.stem}_replay_buffer.pkl"), path.with_name("replay_buffer.pkl")]
    return next((place for place in places if place.is_file()), None), places
