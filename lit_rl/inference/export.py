"""A policy as one file that needs no lit_rl: ONNX or TorchScript, with its moments, checked before it is written."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from lit_rl.checkpoint.files import replace_durably
from lit_rl.errors import ConfigError, DataError
from lit_rl.inference.agent import Agent
from lit_rl.inference.exported import Exported, inputs_of
from lit_rl.inference.observations import can_play, drawn_observations, played_observations

Format = Literal["onnx", "torchscript"]
ENTRY = "lit_rl.json"
"""Name of the extra file in a TorchScript archive, and of the metadata in an ONNX model."""
_OBSERVATIONS = 256
_CLOSE = 1e-4
"""Greatest difference of continuous actions, as a share of the largest."""
_DIFFERENT = 0.01
"""Greatest share of other actions that differ: two choices may be worth almost the same."""
_Runner = Callable[[list[np.ndarray]], np.ndarray]


def export(agent: Agent, file_format: Format, out: Path) -> str:
    """Write a policy, after its actions have been compared with ours; returns what to say.

    The file takes raw observations as the environment shows them, [N, ...], frames stacked, and gives the most likely
    actions as the environment takes them. Where there are masks, they are the last input, `action_masks`: bool [N, M].

    Args:
        agent: the policy.
        file_format: `onnx` or `torchscript`.
        out: the file; replaced if it is there.

    Raises:
        ConfigError: the policy cannot be written so, or a package is missing.
        DataError: the exported actions are not ours; nothing is written.
    """
    network = Exported(agent).eval()
    is_played = can_play(agent)
    raw, masks = (played_observations if is_played else drawn_observations)(agent, _OBSERVATIONS)
    inputs = inputs_of(network, raw, masks)
    example = tuple(torch.from_numpy(part[:2].copy()) for part in inputs)
    write = {"onnx": _onnx, "torchscript": _torchscript}[file_format]
    try:
        with _quietly(), torch.no_grad():
            data, run = write(network, example, json.dumps(described(agent)))
    except (RuntimeError, NotImplementedError, TypeError, ValueError) as error:
        said = (" ".join(str(error).split()) or type(error).__name__)[:200]
        raise ConfigError(f"export: {agent.path} cannot be written as {file_format} ({said}).") from None
    difference = _difference(run(inputs), agent.predict(raw, deterministic=True, action_masks=masks)[0])
    replace_durably(out, data)
    where = "that it meets" if is_played else "drawn from its space, for there is no environment to play"
    return f"its actions are ours for {_OBSERVATIONS} observations {where} (largest difference {difference:.2g})"


def _difference(theirs: np.ndarray, ours: np.ndarray) -> float:
    """How far exported actions are from ours: of continuous ones the largest difference, of others the share.

    Raises:
        DataError: they are not the same policy's.
    """
    if theirs.shape != ours.shape:
        raise DataError(
            f"export: what was exported gives actions {theirs.shape}, not {ours.shape}; nothing was written."
        )
    if theirs.dtype.kind == "f":
        difference, limit = np.abs(theirs - ours).max(), _CLOSE * max(np.abs(ours).max(), 1.0)
    else:
        difference, limit = (theirs != ours).reshape(len(ours), -1).any(axis=1).mean(), _DIFFERENT
    if not difference <= limit:
        raise DataError(f"export: what was exported gives other actions, by {difference:.3g}; nothing was written.")
    return float(difference)


def described(agent: Agent) -> dict[str, Any]:
    """What the file says of itself."""
    return {
        "algorithm": agent.algorithm,
        "timesteps": agent.timesteps,
        "env": agent.module.env_config.name,
        "n_stack": agent.n_stack,
        "observation_space": str(agent.observation_space),
        "action_space": str(agent.action_space),
    }


def _onnx(network: Exported, example: tuple[torch.Tensor, ...], said: str) -> tuple[bytes, _Runner]:
    try:
        import onnx
        import onnxruntime
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--format onnx needs the package {error.name}; install it with `pip install 'lit-rl[onnx]'`."
        ) from None
    buffer, names = io.BytesIO(), list(network.inputs)
    torch.onnx.export(
        network,
        example,
        buffer,  # type: ignore[arg-type]
        input_names=names,
        output_names=["action"],
        dynamic_axes={name: {0: "batch"} for name in [*names, "action"]},
        dynamo=False,  # the newer exporter cannot follow torch.distributions, of which the policies are made
    )
    model = onnx.load_from_string(buffer.getvalue())
    model.metadata_props.add(key=ENTRY, value=said)
    data: bytes = model.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])

    def run(inputs: list[np.ndarray]) -> np.ndarray:
        actions: np.ndarray = session.run(["action"], dict(zip(names, inputs, strict=True)))[0]
        return actions

    return data, run


def _torchscript(network: Exported, example: tuple[torch.Tensor, ...], said: str) -> tuple[bytes, _Runner]:
    buffer = io.BytesIO()
    traced = torch.jit.trace(network, example, check_trace=False)  # type: ignore[no-untyped-call]
    torch.jit.save(traced, buffer, _extra_files={ENTRY: said.encode()})
    loaded = torch.jit.load(io.BytesIO(buffer.getvalue()))  # type: ignore[no-untyped-call]

    def run(inputs: list[np.ndarray]) -> np.ndarray:
        with torch.no_grad():
            actions: np.ndarray = loaded(*map(torch.from_numpy, inputs)).numpy()
        return actions

    return buffer.getvalue(), run


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Warnings of torch's tracing say nothing of what is written: that is compared."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
