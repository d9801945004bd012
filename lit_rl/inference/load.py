"""From a path to an agent: nothing is run that stands in a file, no environment is made, no replay is read."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from lit_rl.algorithms import algorithms, refuse_unavailable
from lit_rl.checkpoint.manifest import CHECKPOINTS, LIGHTNING_FILE, MANIFEST
from lit_rl.checkpoint.reader import read_lightning
from lit_rl.checkpoint.store import CheckpointStore
from lit_rl.errors import ConfigError, DataError, did_you_mean
from lit_rl.inference.agent import Agent
from lit_rl.inference.from_sb3 import agent_of_zip
from lit_rl.interop.places import newest_agent
from lit_rl.run.directory import LINEAGE
from lit_rl.training.module import RLModule
from lit_rl.training.settings import foreign_environment, refuse_foreign_classes

Which = Literal["best", "last"]

_WITHOUT_REPLAY = {"her": False, "prioritized_replay": False}
"""Settings that ask for memory, or for the rewards of an environment, and change nothing that acts."""


class Opened(NamedTuple):
    """A `.ckpt` file, read.

    Args:
        path: what was meant: the checkpoint's directory, or the file where it lies alone.
        state: Lightning's dictionary.
        which: of a run's checkpoints it is.
    """

    path: Path
    state: dict[str, Any]
    which: Which | None


def load(
    path: str | Path,
    which: Which | None = None,
    *,
    vecnormalize: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Agent:
    """A trained policy that acts: its `predict` takes raw observations and gives actions as the environment takes them.

    Nothing in the file is run, and nothing is imported because the file names it, but for our own algorithms and the
    policies, layers and extractors of stable-baselines3 and PyTorch. No environment is made.

    Args:
        path: a run directory, a checkpoint directory, a `.ckpt` file, the zip of a stable-baselines3 agent, or the
            directory that its callbacks or the RL Zoo left.
        which: of a run directory: its `best` checkpoint or its `last` good one. By default the best if there is one,
            else the last; the line that is printed says which.
        vecnormalize: the VecNormalize pickle of a zip, where it is not found by name.
        settings: settings of the module in place of those in the checkpoint, such as `policy_kwargs` with a class of
            your own, which is imported because you name it.

    Raises:
        ConfigError: there is no policy at the path, or none that can be opened; in one line with the fix.
    """
    check_which(which)
    place = existing(path)
    try:
        place = _left_by_sb3(place)
        if place.is_file() and place.suffix == ".zip":
            refuse_which(place, which)
            return agent_of_zip(place, vecnormalize, settings or {})
        if vecnormalize is not None:
            raise ConfigError(f"load: vecnormalize belongs to a stable-baselines3 zip, and {place} is none; remove it.")
        return agent_in(open_checkpoint(place, which), settings or {})
    except DataError as error:
        raise ConfigError(f"load: {error} Name another checkpoint, or copy it again.") from None


def _left_by_sb3(place: Path) -> Path:
    """The newest zip of a directory that stable-baselines3 or the RL Zoo has left; any other path as it is."""
    ours = (MANIFEST, LINEAGE, CHECKPOINTS)
    if not place.is_dir() or place.name == CHECKPOINTS or any((place / name).exists() for name in ours):
        return place
    found, damaged = newest_agent(place)
    for said in damaged:
        print(f"WARNING: {said}", flush=True)
    return found or place


def check_which(which: Any) -> Which | None:
    """`which` as it is.

    Raises:
        ConfigError: it is none of the two words.
    """
    if which is not None and which not in get_args(Which):
        raise ConfigError(f"load: which is '{which}', and not one of {', '.join(get_args(Which))}.")
    chosen: Which | None = which
    return chosen


def existing(path: str | Path) -> Path:
    """A path on this machine.

    Raises:
        ConfigError: nothing is there; names the nearest neighbour.
    """
    if "://" in str(path):
        raise ConfigError(f"load: '{path}' is a remote address; copy it to a local directory first.")
    place = Path(path)
    if not place.exists():
        siblings = [each.name for each in place.parent.iterdir()] if place.parent.is_dir() else []
        raise ConfigError(
            f"load: '{path}' is not there.{did_you_mean(place.name, siblings)} Name a run directory, a checkpoint, a "
            ".ckpt file or a stable-baselines3 zip."
        )
    return place


def refuse_which(place: Path, which: Which | None) -> None:
    """Refuse a choice among checkpoints where there is one only."""
    if which is not None:
        raise ConfigError(f"load: which is for a run directory, and {place} is a single checkpoint; remove it.")


def is_run(place: Path) -> bool:
    """Whether a path means a run, of whose checkpoints one is taken."""
    return place.is_dir() and not (place / MANIFEST).exists()


def open_checkpoint(place: Path, which: Which | None = None) -> Opened:
    """Read the `.ckpt` that a path means, and nothing else of its checkpoint; a run's choice is printed.

    Raises:
        ConfigError: the path is of another kind.
        DataError: what is there is damaged.
    """
    if is_run(place):
        return _of_run(place, which)
    refuse_which(place, which)
    file = place / LIGHTNING_FILE if place.is_dir() else place
    alone = file.name != LIGHTNING_FILE or not (file.parent / MANIFEST).exists()
    return Opened(file if alone else file.parent.resolve(), read_lightning(file)[0], None)


def _of_run(place: Path, which: Which | None) -> Opened:
    run = place.parent if place.name == CHECKPOINTS else place
    if not ((run / CHECKPOINTS).is_dir() or (run / LINEAGE).exists()):
        raise ConfigError(
            f"load: {place} is neither a checkpoint (no {MANIFEST}) nor a run directory (no {LINEAGE}); name one, such "
            "as lightning_logs/run/version_0."
        )
    inventory = CheckpointStore(run / CHECKPOINTS).inventory()
    if inventory.newer:
        raise DataError(inventory.newer[0])
    best = inventory.best() if which != "last" else None
    if which == "best" and best is None:
        raise ConfigError(f"load: {run} has no checkpoint with a score, so none is the best; take which: last.")
    complaints = list(inventory.rejected)
    others = inventory.checkpoints if which != "best" else []
    for checkpoint in ([] if best is None else [best]) + others:
        taken: Which = "best" if checkpoint is best else "last"
        try:
            opened = Opened(checkpoint.path, read_lightning(checkpoint.path / LIGHTNING_FILE)[0], taken)
        except DataError as error:
            complaints.append(str(error))
            continue
        for complaint in complaints:
            print(f"WARNING: {complaint}", flush=True)
        print(f"{taken} checkpoint of {run}: {checkpoint.path.name}", flush=True)
        return opened
    said = f" {complaints[0]}" if complaints else ""
    raise ConfigError(f"load: {run} has no good checkpoint.{said} Train on, or name another run.")


def agent_in(opened: Opened, given: Mapping[str, Any]) -> Agent:
    """The agent in a checkpoint that has been read.

    Args:
        opened: the checkpoint.
        given: settings in place of its own; what they name is imported.

    Raises:
        ConfigError: another program or algorithm wrote it, or it names classes that are not given.
    """
    path, state, which = opened
    module = module_in(path, state, given)
    module.load_state_dict(state["state_dict"])
    return Agent(module.train(False), path, which)


def algorithm_in(path: Path, state: Mapping[str, Any]) -> type[RLModule]:
    """The algorithm that wrote a checkpoint, one of the house's.

    Raises:
        ConfigError: another one did, or another program.
    """
    ours = state.get("lit_rl")
    if not isinstance(ours, dict) or not isinstance(state.get("hyper_parameters"), dict):
        raise ConfigError(
            f"load: {path} was not written by lit_rl (no 'lit_rl' part); name a checkpoint of a run of it."
        )
    known = algorithms()
    if ours.get("algorithm") not in known:
        refuse_unavailable(str(ours.get("algorithm")), "load")
        raise ConfigError(
            f"load: {path} was written by {ours.get('algorithm')!r}, which is none of {', '.join(known)} and is not "
            "imported because a file names it; open it with its own class: YourAlgorithm.load_from_checkpoint(path)."
        )
    algorithm: type[RLModule] = known[ours["algorithm"]]
    return algorithm


def module_in(path: Path, state: dict[str, Any], given: Mapping[str, Any]) -> RLModule:
    """The algorithm of a checkpoint with its networks made and its counters set; their weights are yet to come."""
    algorithm = algorithm_in(path, state)
    taken = inspect.signature(
        algorithm
    ).parameters  # an algorithm that derives from another may fix some of its settings
    stored = {key: value for key, value in state["hyper_parameters"].items() if key in taken}
    stored |= without_replay(algorithm, stored)
    try:
        refuse_foreign_classes(stored, dict(given))
        module: RLModule = algorithm(**{**stored, **given})
        module.play.foreign = None if "env" in given else foreign_environment(stored)
        module.on_load_checkpoint(state)
        module._loaded = {}  # optimizers and what else only a resume takes
        _check_tensors(path, module, state["state_dict"])
    except ConfigError as error:
        hint = "; give load(path, settings={...})" if "pass " in str(error) else ""
        raise ConfigError(f"load: {path}: {str(error).rstrip('.')}{hint}.") from None
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        said = " ".join(str(error).split())[:200]
        raise ConfigError(f"load: {path} is not a whole checkpoint ({said}); copy it again.") from None
    return module


def without_replay(algorithm: type[RLModule], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with which an off-policy algorithm makes no replay worth the name."""
    if "buffer_size" not in inspect.signature(algorithm).parameters:
        return {}
    env = settings.get("env")
    n_envs = env.get("n_envs", 1) if isinstance(env, dict) else 1
    return {"buffer_size": n_envs, **_WITHOUT_REPLAY}


def _check_tensors(path: Path, module: RLModule, theirs: Mapping[str, Any]) -> None:
    for name, tensor in module.state_dict().items():
        if name not in theirs:
            raise ConfigError(f"it has no tensor '{name}', which its settings ask for; its settings are not its own")
        if getattr(theirs[name], "shape", None) != getattr(tensor, "shape", None):
            raise ConfigError(
                f"tensor '{name}' has shape {tuple(theirs[name].shape)}, and its settings make one of "
                f"{tuple(tensor.shape)}; its weights do not fit the networks that the settings make"
            )
