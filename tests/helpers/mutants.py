"""Every single mistake in a whole run.yaml: a key misspelled, dropped or doubled, or a value of another kind."""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import math
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lit_rl.cli.dispatch import run_command
from lit_rl.cli.text import read_yaml, write_value
from lit_rl.errors import EXIT_CONFIG

WHOLE: dict[str, Any] = {
    "name": "run",
    "mode": "fresh",
    "seed_everything": 1,
    "total_timesteps": 64,
    "pause_at": 1,
    "requeue": False,
    "resume": {
        "checkpoint": "last",
        "total_timesteps": None,
        "additional_timesteps": None,
        "schedule": "keep",
        "on_config_change": "error",
        "require": "boundary",
        "strict": False,
    },
    "warmstart": {
        "checkpoint": None,
        "load": ["policy", "value"],
        "vecnormalize": None,
        "on_mismatch": "error",
        "level": 0,
    },
    "env": {
        "class_path": "tests.helpers.levels.Limited",
        "kwargs": {"limit": 3},
        "n_envs": 2,
        "backend": "sync",
        "n_workers": None,
        "wrappers": [
            {"class_path": "gymnasium.wrappers.ClipReward", "init_args": {"min_reward": -1.0, "max_reward": 1.0}},
            "gymnasium.wrappers.FlattenObservation",
        ],
        "normalize": {
            "obs": True,
            "reward": True,
            "clip_obs": 10.0,
            "clip_reward": 10.0,
            "gamma": None,
            "epsilon": 1e-8,
            "keys": None,
        },
        "atari": False,
        "frame_stack": None,
        "max_episode_steps": 50,
        "fresh_instance": False,
        "step_timeout": None,
        "on_env_crash": "stop",
        "max_restarts": 10,
    },
    "curriculum": {
        "levels": [
            {
                "name": "short",
                "set_level": 3,
                "promote": {"metric": "success_rate", "threshold": 0.9, "window": 50, "patience": 2},
            },
            {
                "name": "long",
                "set_level": 5,
                "demote": {"metric": "ep_rew_mean", "below": 0.0, "window": 50},
                "mix": {"share": 0.5, "spread": "even"},
            },
        ]
    },
    "eval": {
        "every": 32,
        "episodes": 1,
        "deterministic": True,
        "envs": 1,
        "level": "current",
        "stop_on_reward": 1000.0,
    },
    "ranks": {"patience_s": 60.0, "start_timeout_s": 600.0},
    "checkpoint": {
        "every_timesteps": 32,
        "every_minutes": None,
        "keep_last": 3,
        "keep_every": None,
        "save_best": True,
        "before_promotion": False,
        "background": True,
    },
    "model": {
        "class_path": "PPO",
        "init_args": {
            "policy": "MlpPolicy",
            "learning_rate": {"start": 1e-3, "end": 0.0, "shape": "linear", "fraction": 1.0},
            "n_steps": 16,
            "batch_size": 16,
            "n_epochs": 1,
            "gamma": 0.99,
            "gae_lambda": 0.95,
            "clip_range": 0.2,
            "clip_range_vf": None,
            "normalize_advantage": True,
            "ent_coef": 0.01,
            "vf_coef": 0.5,
            "max_grad_norm": 0.5,
            "use_sde": False,
            "sde_sample_freq": -1,
            "target_kl": None,
            "max_bad_updates": 10,
            "deterministic_reduction": False,
            "reduction_pieces": 2,
            "cycles_per_iteration": 1,
            "policy_kwargs": {
                "net_arch": {"pi": [8], "vf": [8]},
                "activation_fn": "torch.nn.Tanh",
                "ortho_init": True,
                "log_std_init": 0.0,
                "features_extractor_class": "tests.helpers.networks.Narrow",
                "features_extractor_kwargs": {"features_dim": 4, "activation_fn": "torch.nn.ReLU", "bias": True},
                "share_features_extractor": True,
                "optimizer_class": "torch.optim.Adam",
                "optimizer_kwargs": {"eps": 1e-5, "weight_decay": 0.0, "amsgrad": False},
            },
        },
    },
    "trainer": {
        "accelerator": "cpu",
        "devices": 1,
        "precision": "32-true",
        "max_time": "00:01:00:00",
        "logger": {"class_path": "CSVLogger", "init_args": {"save_dir": "csv", "name": "mine"}},
        "callbacks": [{"class_path": "LearningRateMonitor", "init_args": {"logging_interval": "step"}}],
        "enable_progress_bar": True,
        "enable_model_summary": False,
        "deterministic": False,
        "detect_anomaly": False,
        "max_epochs": -1,
        "default_root_dir": "lightning_logs",
    },
}
"""Every block, with most of their keys."""

VALUES: tuple[Any, ...] = (
    "text", "3", "1e3", "true", "", "x" * 400, 3, 0, -3, 10**30, 2.5, 1000.0, -1e300, 1e300, 1e-300, math.nan, math.inf,
    -math.inf, True, False, None, [], [1], ["a", None], {}, {"a": 1}, {"class_path": "nowhere.Nothing"},
)  # fmt: skip
"""Of other types, signs and sizes."""

Place = tuple[str | int, ...]

OPEN = (("env", "kwargs"), ("curriculum", "levels", 0, "set_level"), ("curriculum", "levels", 1, "set_level"))
"""What is the environment's own business: any value may be right."""
_LEFT_OUT = {("trainer", "devices"): (3, "3")}
"""What would start further processes."""


@dataclass(frozen=True)
class Mutant:
    """One mistake.

    Args:
        place: the keys and list positions down to it.
        how: `misspelled`, `dropped`, `doubled`, or `value`.
        value: the number of the value in `VALUES`.
    """

    place: Place
    how: str
    value: int = -1

    def __str__(self) -> str:
        what = f" = {VALUES[self.value]!r:.40}" if self.how == "value" else f" {self.how}"
        return ".".join(map(str, self.place)) + what

    @property
    def key(self) -> str:
        """The last key above the mistake."""
        return str([part for part in self.place if isinstance(part, str)][-1])

    def text(self) -> str:
        """The file with it."""
        config = copy.deepcopy(WHOLE)
        parent: Any = config
        for part in self.place[:-1]:
            parent = parent[part]
        last = self.place[-1]
        if self.how == "value":
            parent[last] = copy.deepcopy(VALUES[self.value])
        elif self.how == "misspelled":
            parent[misspelled(str(last))] = parent.pop(last)
        elif self.how == "dropped":
            del parent[last]
        else:
            assert isinstance(parent, dict)
            parent["DOUBLED"] = parent[last]
        return write_value(config).replace("DOUBLED", str(last))


def misspelled(key: str) -> str:
    """Two letters changed places."""
    return f"{key[:-2]}{key[-1]}{key[-2]}" if key[-1] != key[-2] else f"{key}{key[-1]}"


def _places(value: Any, place: Place = ()) -> Iterator[Place]:
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*place, key)
        yield from _places(item, (*place, key))


def mutants() -> list[Mutant]:
    """All of them."""
    found: list[Mutant] = []
    for place in _places(WHOLE):
        if isinstance(place[-1], str):
            found += [Mutant(place, how) for how in ("misspelled", "dropped", "doubled")]
        if _is_open(place[:-1]) or place in OPEN[1:]:
            continue
        left_out = _LEFT_OUT.get(place, ())
        found += [Mutant(place, "value", i) for i, value in enumerate(VALUES) if not _among(value, left_out)]
    return found


def _among(value: Any, others: tuple[Any, ...]) -> bool:
    return any(type(value) is type(other) and value == other for other in others)


def outcome(mutant: Mutant, directory: Path) -> str | None:
    """Run the command line on a mutant in a new directory; what is wrong with how it ends, or `None`."""
    (directory / "run.yaml").write_text(mutant.text())
    done = _fit(directory)
    if done.returncode in (0, 75):
        return _misread(mutant, directory)
    lines = done.stderr.strip().splitlines()
    if done.returncode == 1 and "not finite" in lines[0] and "Traceback" not in done.stderr:
        return None  # such a number was tried, and training went wrong
    if done.returncode != 2:
        return f"exit code {done.returncode}: {' | '.join(lines[-3:])}"
    if "Traceback" in done.stderr or not 1 <= len(lines) <= 3 or not lines[0].startswith("error: "):
        return f"{len(lines)} lines: {' | '.join(lines[:3])}"
    if sorted(path.name for path in directory.iterdir()) != ["run.yaml"]:
        return "something was written"
    if mutant.key not in done.stderr and misspelled(mutant.key) not in done.stderr:
        return f"does not name {mutant.key}: {done.stderr.strip()}"
    return None


def _fit(directory: Path) -> subprocess.CompletedProcess[str]:
    """`lit-rl fit --config run.yaml` in a fork of this process."""
    _warm_up()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            os.chdir(directory)
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
            sys.argv = ["lit_rl", "fit", "--config", "run.yaml"]
            signal.alarm(100)
            code = 1
            try:
                code = run_command(sys.argv[1:])
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(["fit"], code, out.read(), err.read())


@functools.cache
def _warm_up() -> None:
    """What the parser imports and remembers, every fork has then. Torch must not have computed before a fork."""
    wrong = Mutant(("env", "kwargs", "limit"), "misspelled")
    with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stderr(io.StringIO()):
        path = Path(directory) / "run.yaml"
        path.write_text(wrong.text())
        assert run_command(["fit", "--config", str(path)]) == EXIT_CONFIG


def _misread(mutant: Mutant, directory: Path) -> str | None:
    """Whether a value was taken for another one: the run keeps its configuration as it was understood."""
    if mutant.how == "misspelled":
        return "a misspelled key was passed over"
    if mutant.how == "doubled":
        return "a key that stands twice was passed over"
    if mutant.how != "value" or mutant.place[0] == "curriculum" or "wrappers" in mutant.place:
        return None
    given = VALUES[mutant.value]
    if isinstance(given, dict | list) or given is None:
        return None
    configs = list(directory.glob("**/config.yaml"))
    if not configs:
        return "no configuration was written"
    found: Any = read_yaml(configs[0])
    for part in mutant.place:
        if part in ("logger", "callbacks"):
            return None
        found = found[part]
    same = found == given or (found != found and given != given)
    if (
        not same
        or isinstance(found, bool) is not isinstance(given, bool)
        or isinstance(found, str) is not isinstance(given, str)
    ):
        return f"was taken for {found!r}"
    return None


def _is_open(place: Place) -> bool:
    return any(place[: len(each)] == each for each in OPEN)
