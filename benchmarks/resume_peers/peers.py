"""Who is measured: how each is installed, and where its checkpoints lie."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TORCH = "torch==2.13.0"


@dataclass(frozen=True)
class Peer:
    """A library.

    Args:
        title: its name in tables.
        pins: what is installed in its environment; empty for the one that the benchmark runs in.
        checkpoints: pattern of its checkpoints below the run's directory.
        weights: file with the weights, in a checkpoint that is a directory.
        unit: timesteps that one count in a checkpoint's name means.
        again: what is typed to go on.
    """

    title: str
    pins: tuple[str, ...]
    checkpoints: str
    again: str
    weights: str = ""
    unit: int = 1

    def found(self, directory: Path) -> dict[int, Path]:
        """Checkpoints by timestep, oldest first."""
        found = {int(re.findall(r"\d+", path.name)[0]) * self.unit: path for path in directory.glob(self.checkpoints)}
        return dict(sorted(found.items()))

    def python(self, name: str, venvs: Path) -> Path:
        """The Python of its environment, which is made where it is not there."""
        if not self.pins:
            return Path(sys.executable)
        directory = venvs.resolve() / name
        python, done = directory / "bin" / "python", directory / "installed"
        wanted = " ".join([TORCH, *self.pins])
        if not done.exists() or done.read_text() != wanted:
            print(f"installing {wanted} in {directory}", file=sys.stderr, flush=True)
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(directory)], check=True)
            install = [str(python), "-m", "pip", "install", "--quiet", TORCH, *self.pins]
            subprocess.run(install, check=True, env={**os.environ, "PYTHONPATH": ""}, capture_output=True, text=True)
            done.write_text(wanted)
        return python


SB3 = ("stable-baselines3==2.9.2", "gymnasium==1.4.0", "numpy==2.4.6")
PEERS = {
    "lit_rl": Peer(
        "lit_rl", (), "lightning_logs/run/version_0/checkpoints/t*-s*", "the same command", weights="lightning.ckpt"
    ),
    "sb3": Peer(
        "stable-baselines3", SB3, "ppo_*_steps.zip", "`PPO.load` in the script"
    ),
    "zoo": Peer(
        "RL Zoo", ("rl_zoo3==2.9.2", *SB3), "ppo/*/rl_model_*_steps.zip", "`-i CHECKPOINT -n MORE`"
    ),
    "tianshou": Peer(
        "tianshou", ("tianshou==2.0.1", "gymnasium==1.4.0", "numpy==2.4.6"), "checkpoint_*.pth",
        "`load_state_dict` in the script", unit=1024,
    ),
    "skrl": Peer(
        "skrl", ("skrl==2.1.1", "gymnasium==1.4.0", "numpy==2.4.6"), "run/checkpoints/agent_*.pt",
        "`agent.load` in the script", unit=4,
    ),
    "torchrl": Peer(
        "torchrl", ("torchrl==0.14.1", "tensordict==0.14.3", "gymnasium==1.4.0", "numpy==2.4.6"),
        "checkpoints/checkpoint*", "`load_from_file` in the script", weights="components/*-policy/state/*.memmap",
    ),
    "sheeprl": Peer(
        "sheeprl", ("sheeprl==0.8.4", "gymnasium==1.4.0", "numpy==2.4.6"),
        "logs/runs/*/*/*/version_0/checkpoint/ckpt_*.ckpt", "`checkpoint.resume_from`",
    ),
}  # fmt: skip
