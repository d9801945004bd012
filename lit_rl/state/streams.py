"""The global random streams. The run itself draws from none of them: they are left to the user's code, and kept."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch


def capture_streams() -> dict[str, Any]:
    """State of Python's, NumPy's and torch's global generators, and of every CUDA device's once CUDA is in use.

    Asking for those would initialise CUDA. Where there is a GPU, Lightning's Trainer has done so before it trains: a
    run on the CPU has them in its state too there.
    """
    streams: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(legacy=False),  # noqa: NPY002  the stream of the user's code
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        streams["cuda"] = torch.cuda.get_rng_state_all()
    return streams


def restore_streams(streams: dict[str, Any]) -> None:
    """The inverse of `capture_streams`. Streams of CUDA devices that are not there are left out."""
    version, internal, gauss = streams["python"]
    random.setstate((version, tuple(internal), gauss))
    numpy_state = dict(streams["numpy"])
    inner = dict(numpy_state["state"])
    inner["key"] = np.asarray(inner["key"]).astype(np.uint32)
    np.random.set_state({**numpy_state, "state": inner})  # noqa: NPY002
    torch.set_rng_state(streams["torch"].cpu())
    for device, state in enumerate(streams.get("cuda", [])):
        if torch.cuda.is_available() and device < torch.cuda.device_count():
            torch.cuda.set_rng_state(state.cpu(), device)


@contextlib.contextmanager
def drawing_weights(rng: np.random.Generator) -> Iterator[None]:
    """Networks that are made in here get the weights that `rng` says, and the global random streams stay as they were.

    On the CPU, whatever device is the default: the same weights for each, to which they are then moved.
    """
    with torch.device("cpu"), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(rng.integers(2**63)))
        yield


class GlobalStreams:
    """The global streams as a part of a rank's state."""

    def state_dict(self) -> dict[str, Any]:
        return capture_streams()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        restore_streams(state)
