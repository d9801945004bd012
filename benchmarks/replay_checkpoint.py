"""What a large replay costs in checkpoints: bytes and time of the first, of a later one, and of loading it.

A replay of 1,000,000 transitions (17 floats, 6 actions), full; then 10,000 more. Beside it the same arrays written
whole by NumPy, and the bytes read back without doing anything with them. `--hold-out` keeps the page cache: times of
reading are those of a file that lies in memory, and are the best that reading can be.

    python benchmarks/replay_checkpoint.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from gymnasium import spaces

from lit_rl.checkpoint.manifest import Checkpoint, FileEntry, Manifest, manifest_fields
from lit_rl.checkpoint.rows import RowFiles, all_mapped, each_once, rows_in
from lit_rl.data.replay import Replay

OBS, ACTION = spaces.Box(-np.inf, np.inf, (17,), np.float32), spaces.Box(-1.0, 1.0, (6,), np.float32)


def filled(size: int) -> Replay:
    """A full replay of random transitions, of which every thousandth ends an episode."""
    rng, replay = np.random.default_rng(0), Replay(size, 1, OBS, ACTION)
    truncated = np.arange(size)[:, None] % 1000 == 999
    ends = np.flatnonzero(truncated)
    columns = {
        "obs": rng.standard_normal((size, 1, 17), dtype=np.float32),
        "action": rng.standard_normal((size, 1, 6), dtype=np.float32),
        "reward": rng.standard_normal((size, 1)),
        "terminated": np.zeros((size, 1), dtype=bool),
        "truncated": truncated,
        "level": np.zeros((size, 1), dtype=np.int16),
        "final_row": ends,
        "final_env": np.zeros(len(ends), dtype=np.int64),
        "finals": rng.standard_normal((len(ends), 17), dtype=np.float32),
    }
    head = np.zeros((1, 17), np.float32)
    replay.load_state_dict({"begin": 0, "end": size, "n_envs": 1, "head": head, "pieces": [(0, size, columns)]})
    return replay


def add(replay: Replay, count: int) -> None:
    """Play on."""
    rng, obs = np.random.default_rng(1), np.zeros((1, 17), np.float32)
    for _ in range(count):
        replay.observe(obs)
        obs, action = rng.standard_normal((1, 17), dtype=np.float32), rng.standard_normal((1, 6), dtype=np.float32)
        replay.add(action, rng.standard_normal(1), np.zeros(1, bool), np.zeros(1, bool), obs, [])


def committed(files: RowFiles, place: Path, replay: Replay) -> tuple[list[str], Checkpoint]:
    """Write the files of rows of one checkpoint; their names, and the checkpoint as later ones see it."""
    place.mkdir()
    rows = files.capture(0, "replay", replay)
    files.write(place, rows)
    manifest = Manifest(**manifest_fields("run", 1, replay.end, 1, 1, None), files=dict(files.entries))
    made = Checkpoint(place, manifest, "")
    files.base = made
    return [file.name for file in rows], made


def load(checkpoint: Checkpoint, names: list[str], like: Replay, capacity: int) -> Replay:
    """A replay as a resume makes it: every file hashed, and its rows copied once."""
    found = Replay(capacity, 1, OBS, ACTION)
    entries: dict[str, FileEntry] = checkpoint.manifest.files
    held = all_mapped(checkpoint.path, {name: entries[name] for name in names})
    files = (rows_in(held.pop(name), checkpoint.path / name) for name in names)
    state = like.state_dict()
    found.load_state_dict({**state, "pieces": each_once(files, state["begin"], state["end"], "replay")})
    return found


def timed(work: Callable[[], Any], rounds: int) -> float:
    """Median seconds."""
    took = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        took.append(time.perf_counter() - begin)
    return statistics.median(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1_000_000)
    parser.add_argument("--new", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    size, new, rounds = arguments.size, arguments.new, arguments.rounds
    replay = filled(size)
    with tempfile.TemporaryDirectory(prefix="lit_rl_replay_") as directory:
        root, files, later, bytes_new, files_new = Path(directory), RowFiles(), [], [], []
        whole = [timed(lambda: committed(files, root / "first", replay), 1)]
        names, checkpoint = [], files.base
        for i in range(rounds):
            add(replay, new)
            begin = time.perf_counter()
            names, checkpoint = committed(files, root / f"later_{i}", replay)
            later.append(time.perf_counter() - begin)
            bytes_new.append(sum(files.entries[name].size for name in files.new))
            files_new.append(len(files.new))
        for i in range(2):
            files.base = None
            whole.append(timed(lambda i=i: committed(files, root / f"whole_{i}", replay), 1))
        assert checkpoint is not None
        total = sum(entry.size for entry in checkpoint.manifest.files.values())
        paths = [checkpoint.path / name for name in names]
        reading = timed(lambda: [path.read_bytes() for path in paths], rounds)
        loading = timed(lambda: load(checkpoint, names, replay, size), rounds)
        fresh = timed(lambda: Replay(size, 1, OBS, ACTION), rounds)
        found = load(checkpoint, names, replay, size)
        assert all(np.array_equal(a, found.columns(found.end - 99, found.end)[k])
                   for k, a in replay.columns(replay.end - 99, replay.end).items())  # fmt: skip
    share, stop = statistics.median(bytes_new) / total, statistics.median(later) / statistics.median(whole)
    print(f"| replay | {size:,} transitions, {total / 1e6:.1f} MB in {len(names)} files |\n|---|---|")
    print(f"| written whole | {1000 * statistics.median(whole):.0f} ms |")
    print(f"| after {new:,} more | {1000 * statistics.median(later):.1f} ms: {stop:.1%} of that |")
    print(f"| bytes of it | {statistics.median(bytes_new) / 1e6:.2f} MB: {share:.1%}, in {files_new[-1]} files |")
    print(f"| reading the bytes | {1000 * reading:.0f} ms |")
    print(f"| loading, with every digest | {1000 * loading:.0f} ms: {loading / reading:.2f} times that |")
    print(f"| of it, memory for the ring | {1000 * fresh:.0f} ms |")


if __name__ == "__main__":
    main()
