"""What a run writes down about itself while it is watched; it draws nothing and changes nothing.

One line of JSON when training begins, one before each update, weights when it has ended. The files are named by
`RESUME_PROBE`. With `RESUME_END_PAST` a run ends at once, as by `kill -9`, before its first update past that timestep.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

N_ENVS, N_STEPS, BATCH, EPOCHS, LEARNING_RATE = 4, 64, 64, 4, 1e-3
ROLLOUT = N_ENVS * N_STEPS
ENV, SEED = "CartPole-v1", 1
_updates = 0


def arguments() -> argparse.Namespace:
    """The options that every peer's script has."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dir", type=Path, required=True, help="where the run lies")
    parser.add_argument("--timesteps", type=int, required=True, help="of the whole run")
    parser.add_argument("--save-every", type=int, required=True, help="timesteps between two checkpoints")
    parser.add_argument("--resume", type=Path, help="checkpoint to go on from")
    return parser.parse_args()


def begin(timesteps: int, moments: Any = None, episodes: int | None = None) -> None:
    """Training begins.

    Args:
        timesteps: the library's own counter.
        moments: mean of the observations' normalisation; `None` where the library has none.
        episodes: how many finished episodes its statistics know of; `None` where it has none.
    """
    _write({"what": "begin", "timesteps": int(timesteps), "moments": _plain(moments), "episodes": episodes})


def update(timesteps: int, learning_rate: float, obs: Any, actions: Any, moments: Any = None) -> None:
    """An update comes.

    Args:
        timesteps: the library's own counter.
        learning_rate: of this update.
        obs: the rollout's first observations, of each environment.
        actions: the rollout's first actions, of each environment.
        moments: as in `begin`, after the rollout.
    """
    global _updates
    _updates += 1
    _write({
        "what": "update", "timesteps": int(timesteps), "learning_rate": float(learning_rate), "obs": _plain(obs),
        "actions": _plain(actions), "moments": _plain(moments), "streams": _streams(),
    })  # fmt: skip
    past = os.environ.get("RESUME_END_PAST")
    if past is not None and _updates * ROLLOUT > int(past):
        os._exit(0)


def end(weights: Mapping[str, Any]) -> None:
    """Training has ended with these weights."""
    np.savez(os.environ["RESUME_PROBE"] + ".npz", **{name: np.asarray(each) for name, each in weights.items()})


def _plain(values: Any) -> list[float] | None:
    return None if values is None else [float(each) for each in np.asarray(values).reshape(-1)]


def _streams() -> list[str]:
    """Digests of the global random streams of NumPy and torch."""
    _, keys, position, *_ = np.random.get_state()  # noqa: NPY002
    found = [np.asarray(keys).tobytes() + str(position).encode()]
    if "torch" in sys.modules:
        found.append(sys.modules["torch"].get_rng_state().numpy().tobytes())
    return [hashlib.sha256(each).hexdigest()[:16] for each in found]


def _write(line: Mapping[str, Any]) -> None:
    with open(os.environ["RESUME_PROBE"], "a") as file:
        file.write(json.dumps(line) + "\n")
